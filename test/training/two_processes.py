"""Trains each FOLDER/recipe.yaml in the processes that torchrun started, which leave their weights there."""

import sys
import weakref
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seg_ros.networks.registry import MODELS
from seg_ros.training.distributed import Processes, join, leave
from seg_ros.training.recipe import Recipe
from seg_ros.training.setup import set_up
from seg_ros.training.trainer import Trainer


class Plain(nn.Module):
    """No batch normalisation and no dropout, so that it does not matter which process sees which image."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, n_classes, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x)
        return scores


def train(folder: Path, processes: Processes) -> None:
    trainer = Trainer(set_up(Recipe.from_yaml(folder / 'recipe.yaml'), None, folder, processes))
    shared = weakref.ref(trainer._step.plain)
    trainer.run()
    alone = processes.world_size == 1
    assert alone or shared() is None, 'it would outlive the process group, and could wait for ever'
    weights = {k: v.contiguous() for k, v in trainer.setup.network.state_dict().items()}
    save_file(weights, folder / f'{processes.rank}.weights')
    (folder / f'{processes.rank}.figures').write_text(repr(trainer.progress.figures))


if __name__ == '__main__':
    MODELS['plain'] = Plain
    torch.set_num_threads(1)
    together = join('cpu')
    for name in sys.argv[1:]:
        train(Path(name), together)
    leave()
