"""The budget of a pruning step as its recipe states it."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor, nn

from seg_ros.compression.budget import Budget
from seg_ros.errors import RecipeError, look_up
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.precision import network_at
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.graph.measure import measure_latency
from seg_ros.quantization.levels import QUANTIZATIONS


@dataclass(frozen=True)
class CostTarget:
    """Maximum cost of a pruned network, absolute or relative to its present cost.

    Attributes:
        kind: 'macs', 'parameters', 'bytes' (at ``level``), 'energy' (millijoules for an image at ``level``,
            estimated), or 'latency' (milliseconds, measured).
        limit: Maximum cost.
        share: Maximum fraction of the present cost, instead of ``limit``; above 0, below 1.
        level: Quantization level at which bytes are counted and energy is estimated.
        backend: Backend with which latency is measured.
        rounds: Number of rounds that are left to reach the budget; in each, the cost falls by one factor.
    """

    kind: str = 'macs'
    limit: float | None = None
    share: float | None = None
    level: str = 'fp32'
    backend: str = 'torch'
    rounds: Annotated[int, Meta(ge=1, le=100)] = 1

    def __post_init__(self) -> None:
        if (self.limit is None) == (self.share is None):
            raise RecipeError(f'limit is {self.limit}, share is {self.share}; expected one of the two')
        if self.share is not None and not 0 < self.share < 1:
            raise RecipeError(f'share is {self.share}; expected more than 0, less than 1')
        look_up(QUANTIZATIONS, self.level, 'quantization level')
        look_up(BACKENDS, self.backend, 'backend')

    def in_rounds(self, rounds: int) -> 'list[CostTarget]':
        """Targets of one round after the other, each relative to the network that the round starts with."""
        if self.share is not None:
            return [replace(self, share=self.share ** (1 / rounds))] * rounds
        return [replace(self, rounds=left) for left in range(rounds, 0, -1)]

    def budget(self, network: nn.Module, model: Model) -> Budget:
        """The budget of a network, at the model's input size."""

        def measure(smaller: nn.Module) -> float:
            frames = FrameNetwork(network_at(smaller, model.metadata, 'fp32')).eval()
            size = model.metadata.input_size
            backend = BACKENDS[self.backend](NetworkSource.of(frames), size, 'cpu', 0)
            images = np.zeros((1, *size, 3), np.uint8)
            return measure_latency(lambda: backend(images))

        measured = measure if self.kind == 'latency' else None
        if self.limit is not None and self.rounds == 1:
            return Budget(self.kind, self.limit, self.level, measured)
        now = Budget(self.kind, 1, self.level, measured).amount(network, example_of(model))
        share = float(self.share or 1) if self.limit is None else min(self.limit / now, 1)
        return Budget(self.kind, now * share ** (1 / self.rounds), self.level, measured)


def example_of(model: Model) -> Tensor:
    """A (1, 3, H, W) float input of zeros, of a model's input size."""
    return torch.zeros(1, 3, *model.metadata.input_size)
