"""Exponential moving average of weights, which generalises better than the weights of the last step."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

NetworkT = TypeVar('NetworkT', bound=nn.Module)


class WeightAverage(Generic[NetworkT]):
    """An averaged copy of a network.

    Args:
        network: Network that is trained; the copy starts equal to it.
        decay: Weight of the old average at each update, 0..1. Early updates use at most (1 + n) / (10 + n),
            so that the random start is soon forgotten.

    Attributes:
        network: The averaged copy, in evaluation mode.
    """

    def __init__(self, network: NetworkT, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: NetworkT, step: int) -> None:
        """Add the weights and buffers of ``network`` after optimizer step number ``step`` (0, 1, ...)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        source = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(source[name], 1 - decay)
            else:
                average.copy_(source[name])
