"""Results of a training run."""

from dataclasses import replace
from typing import Any

from seg_ros.modelfile.file import load_model
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.run_state import BEST_FILE
from seg_ros.training.setup import TrainingSetup
from seg_ros.training.validation import as_figures, measure


def measure_best(setup: TrainingSetup) -> dict[str, dict[str, Any]]:
    """Figures of the best weights of a finished run; this process measures alone.

    Returns:
        Data set and split -> figures (seg_ros.training.validation.as_figures), for the validation and the
        test data of the recipe.
    """
    recipe = setup.recipe
    model = load_model(setup.folder / BEST_FILE)
    results = {}
    if recipe.validation:
        results[f'{recipe.validation.dataset} {recipe.validation.split}'] = model.metadata.figures
    if recipe.test and setup.data.test is not None:
        network = ImageNetwork(model.network, model.metadata.normalisation)
        alone = replace(setup.processes, rank=0, world_size=1)
        matrix, _ = measure(network.to(alone.device), setup.data.test, recipe.input_size, alone)
        results[f'{recipe.test.dataset} {recipe.test.split}'] = as_figures(matrix, setup.data.classes)
    return results
