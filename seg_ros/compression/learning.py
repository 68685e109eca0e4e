"""Taking a step: one process prepares the network, then all processes train it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_ros import schema
from seg_ros.compression.context import CompressionContext, CompressionStep
from seg_ros.errors import RecipeError
from seg_ros.modelfile.file import Model, load_model
from seg_ros.training.augment import Augmentation
from seg_ros.training.recipe import Recipe, Teacher
from seg_ros.training.run_state import BEST_FILE, LAST_FILE
from seg_ros.training.setup import set_up
from seg_ros.training.trainer import Trainer


def take(step: CompressionStep, model: Model, path: Path, context: CompressionContext) -> None:
    """Take a step: one process prepares the network, then all processes train it.

    Args:
        step: The step.
        model: Model to make a smaller one from; neither the model nor its file is changed.
        path: Path of the model file to make. A folder beside it keeps the training state for a stopped run.
        context: Data and processes.

    Raises:
        BudgetError: A budget cannot be met.
        CalibrationError: There are too few images.
        RecipeError: The step does not fit the model.
    """
    learning, processes = step.learning, context.processes
    start = path.with_name(f'{path.stem}-start.safetensors') if learning else path
    if processes.is_main:
        step.prepare(model, start, context)
    processes.wait()
    if learning:
        _learn(load_model(start), path, learning, context)
        processes.wait()


def check_learning(keys: dict[str, Any], where: str) -> None:
    """Check the names and types of some keys of a training recipe.

    Args:
        keys: Keys with their values as in a recipe file.
        where: Place of the keys, for error messages.

    Raises:
        RecipeError: A key is unknown, or a value has the wrong type.
    """
    types = schema.field_types(Recipe)
    for key, value in keys.items():
        if key not in types:
            raise RecipeError(f'{where}.{key} is not a key of a training recipe; known: {", ".join(types)}')
        schema.check_value(types[key], value, f'{where}.{key}', RecipeError)


def _learn(model: Model, path: Path, keys: dict[str, Any], context: CompressionContext) -> None:
    """Train a model, in a folder beside the file to write, from which a stopped run continues."""
    recipe, folder = _learning_recipe(model, keys, context), path.with_suffix('')
    setup = set_up(recipe, context.data, folder, context.processes, parent=model)
    metadata = replace(
        setup.metadata,
        parent=model.metadata.parent,
        training={**setup.metadata.training, 'compressed': True},
    )
    Trainer(replace(setup, metadata=metadata)).run()
    if context.processes.is_main:
        made = folder / (BEST_FILE if context.validation and recipe.stop_after else LAST_FILE)
        made.replace(path)


def _learning_recipe(model: Model, keys: dict[str, Any], context: CompressionContext) -> Recipe:
    """The training recipe of a step: settings of the model, then keys of the chain, then keys of the step."""
    metadata = model.metadata
    content: dict[str, Any] = {
        'model': metadata.architecture,
        'arguments': metadata.arguments,
        'input_size': metadata.input_size,
        'normalisation': metadata.normalisation,
        'augment': Augmentation(metadata.input_size),
        'teacher': Teacher(str(context.teacher), weight=1.0, temperature=2.0),
        'licence': metadata.licence,
        **context.learning,
        **keys,
        'train': context.train,
        'validation': context.validation,
        'init': str(model.path),
    }
    return schema.build(Recipe, content, 'learn', RecipeError)
