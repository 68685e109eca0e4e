"""Masks of weights that stay zero while a network learns.

S. Han, H. Mao, W. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, section 2: the remaining weights are trained, the zeros stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seg_ros.modelfile.file import Model

SPARSITY_KEY = 'sparsity'
"""Key of ``training`` in the metadata of a model file whose zeros are meant to stay."""


@dataclass(frozen=True)
class Sparsity:
    """Masks of the weights that stay zero.

    Attributes:
        masks: Name of a kernel -> bool mask of its shape, False where weights are zero.
    """

    masks: dict[str, Tensor]

    @property
    def fraction(self) -> float:
        """Fraction of the masked weights that are zero, 0..1."""
        n_all = sum(mask.numel() for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / max(n_all, 1)

    def apply(self, network: nn.Module) -> None:
        """Set the masked weights to zero, in place."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                parameter = network.get_parameter(name)
                parameter.mul_(mask.to(parameter.device))

    def follow(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> Callable[[], None]:
        """Apply the masks after each step of an optimizer; averages of the weights stay sparse, too.

        Returns:
            A function that ends this.
        """
        return optimizer.register_step_post_hook(lambda *_: self.apply(network)).remove

    def within(self, part: nn.Module, whole: nn.Module) -> 'Sparsity':
        """The masks of a module by the names of its parameters in a module that contains it.

        Kernels that are rounded in each pass keep their mask. Kernels of shared values need none, because
        zeros are not among the values that learn.
        """
        names = {id(parameter): name for name, parameter in whole.named_parameters()}
        parameters = dict(part.named_parameters())
        found = {}
        for name, mask in self.masks.items():
            module, _, kind = name.rpartition('.')
            rounded = f'{module}.parametrizations.{kind}.original'
            parameter = parameters.get(name, parameters.get(rounded))
            if parameter is not None and parameter.shape == mask.shape and id(parameter) in names:
                found[names[id(parameter)]] = mask
        return Sparsity(found)


def is_sparse(parent: Model | None) -> bool:
    """Whether the zeros of a model are meant to stay."""
    return parent is not None and SPARSITY_KEY in parent.metadata.training


def sparsity_of(parent: Model | None) -> Sparsity | None:
    """Masks of a model whose zeros are meant to stay; None for any other model."""
    if parent is None or not is_sparse(parent):
        return None
    kernels = {name: p.detach() for name, p in parent.network.named_parameters() if p.ndim > 1}
    return Sparsity({name: kernel != 0 for name, kernel in kernels.items()})


def sparsity_record(parent: Model | None) -> dict[str, Any]:
    """Entry of ``training`` in the metadata of a model that is made from another; empty without sparsity."""
    if parent is None or not is_sparse(parent):
        return {}
    return {SPARSITY_KEY: parent.metadata.training[SPARSITY_KEY]}
