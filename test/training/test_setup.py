"""The setup of a training run changes neither the process nor the model that it starts from."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seg_ros import schema
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import RecipeError
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.training.distributed import Processes
from seg_ros.training.export import export_model
from seg_ros.training.initial_network import make_network
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


def test_finer_stages_of_fcn_start_from_coarser_ones(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """FCN-16s starts as FCN-32s, with untrained skips and bilinear upsampling; FCN-8s as FCN-16s."""
    arguments: dict[str, Any] = {'width': 8}
    size, classes = (64, 96), SquaresDataset(None, 'train', n_images=1).classes
    path = tmp_path / 'model.safetensors'
    metadata = ModelMetadata('fcn', classes, size, arguments={**arguments, 'finest': 32})
    torch.manual_seed(0)
    network: nn.Module = metadata.build().eval()
    for finest in (16, 8):
        export_model(path, network, metadata)
        tiny |= {'model': 'fcn', 'arguments': {**arguments, 'finest': finest}, 'init': str(path)}
        recipe = schema.build(Recipe, tiny, 'tiny', RecipeError)
        metadata = replace(metadata, arguments=recipe.arguments)
        parent = load_model(path)
        finer = make_network(recipe, metadata, parent).eval()
        coarse, fine = parent.network.state_dict(), finer.state_dict()
        shared = [name for name in coarse if name != 'last.weight']
        assert all(torch.equal(coarse[name], fine[name]) for name in shared)
        new = fine.keys() - coarse.keys()
        assert {name.partition('.')[0] for name in new} == {'skips', 'upsampling'}
        assert not any(fine[name].any() for name in new if name.startswith('skips'))
        images = torch.rand(1, 3, *size)
        with torch.no_grad():
            near, was = finer(images), parent.network(images)
        assert (near - was).abs().mean() < 0.2 * was.std()  # bilinear in two steps instead of one
        network = finer
    export_model(path, network, metadata)
    coarser = replace(recipe, arguments={**arguments, 'finest': 32})
    with pytest.raises(RecipeError, match="'finest': 8"):
        make_network(coarser, replace(metadata, arguments=coarser.arguments), load_model(path))
