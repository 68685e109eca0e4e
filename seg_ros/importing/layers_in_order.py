"""Layers of a network in the order of their weights, whatever their names are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_NORM = ('weight', 'bias', 'running_mean', 'running_var')


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one module.

    Attributes:
        name: Name of the module.
        tensors: Its tensors by their last name.
    """

    name: str
    tensors: dict[str, Tensor]

    @property
    def is_convolution(self) -> bool:
        """Whether it has a kernel."""
        return 'weight' in self.tensors and self.tensors['weight'].ndim == 4

    @property
    def is_norm(self) -> bool:
        """Whether it is a batch normalisation."""
        return set(self.tensors) == set(_NORM)

    @property
    def is_slope(self) -> bool:
        """Whether it is a PReLU."""
        return set(self.tensors) == {'weight'} and self.tensors['weight'].ndim == 1

    @property
    def names(self) -> set[str]:
        """Full names of its tensors."""
        return {f'{self.name}.{part}' for part in self.tensors}

    def named(self, name: str) -> dict[str, Tensor]:
        """The tensors under the name of another module."""
        return {f'{name}.{part}': value for part, value in self.tensors.items()}


def layers_of(state: Mapping[str, Tensor]) -> list[LayerWeights]:
    """Layers of a state dict, in its order."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        module, _, part = name.rpartition('.')
        found.setdefault(module, {})[part] = value
    return [LayerWeights(name, tensors) for name, tensors in found.items()]
