"""Exponential moving average of weights, which generalises better than the last step's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

NetworkT = TypeVar('NetworkT', bound=nn.Module)


class WeightAverage(Generic[NetworkT]):
    """An averaged copy of a network.

    Args:
        network: what is trained; the copy starts equal to it.
        decay: share of the old average kept at each update. Early updates keep less, (1 + n) / (10 + n), so
            that the random start is soon forgotten.

    Attributes:
        network: the copy, in evaluation mode.
    """

    def __init__(self, network: NetworkT, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: NetworkT, step: int) -> None:
        """Take in the weights and buffers of ``network`` after optimizer step number ``step`` (0, 1, ...)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        source = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(source[name], 1 - decay)
            else:
                average.copy_(source[name])
