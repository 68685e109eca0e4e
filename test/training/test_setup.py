"""The setup of a training run changes neither the process nor the model that it starts from."""

import copy
from pathlib import Path
from typing import Any

import torch

from seg_ros.modelfile.file import load_model
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Recipe
from seg_ros.training.setup import seeded, set_up
from seg_ros.training.trainer import Trainer

CPU = torch.device('cpu')
ALONE = Processes(0, 1, CPU)


def test_seeded_numbers_repeat_and_the_generator_is_as_before() -> None:
    before = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed, CPU):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_training_changes_neither_the_generator_nor_the_parent(
    tiny_file: Path, tmp_path: Path, model_file: Path
) -> None:
    parent = load_model(model_file)
    weights = copy.deepcopy(parent.network.state_dict())
    changes: dict[str, Any] = {'epochs': 1, 'workers': 0, 'init': str(model_file)}
    recipe = Recipe.from_yaml(tiny_file, [f'{key}={value}' for key, value in changes.items()])
    before = torch.get_rng_state()
    setup = set_up(recipe, None, tmp_path / 'run', ALONE, parent=parent)
    Trainer(setup).run()
    assert torch.equal(torch.get_rng_state(), before)
    assert setup.progress.epoch == 0
    assert setup.metadata.parent is not None
    assert setup.metadata.parent['digest'] == parent.digest
    for name, value in parent.network.state_dict().items():
        assert torch.equal(value, weights[name]), name
