import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

TINY: dict[str, Any] = {
    'model': 'enet',
    'input_size': [32, 40],
    'train': [{'dataset': 'squares', 'split': 'train', 'options': {'n_images': 10}}],
    'validation': {'dataset': 'squares', 'split': 'validation', 'options': {'n_images': 2}},
    'augment': {'crop': [32, 40], 'scale': [0.13, 0.2], 'flip': 0.5, 'noise': 4.0},
    'epochs': 3,
    'batch_size': 4,
    'learning_rate': 0.005,
    'ema': 0.5,
    'precision': 'fp32',
    'validate_every': 1,
    'workers': 1,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Busy machines make short parallel sections slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def tiny_recipe() -> dict[str, Any]:
    """A recipe of seconds, as its file would hold it."""
    return TINY


@pytest.fixture
def tiny(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """The same, to be changed."""
    return copy.deepcopy(tiny_recipe)


@pytest.fixture
def tiny_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / 'tiny.yaml'
    path.write_text(yaml.safe_dump(tiny))
    return path
