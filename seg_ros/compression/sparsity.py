"""Sparsity: single weights are zero, which saves storage but no time.

S. Han, H. Mao, W. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, section 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.errors import ParameterError, UnknownNameError


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
                network.get_parameter(name).mul_(mask)

    def follow(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> Callable[[], None]:
        """Apply the masks after each step of an optimizer; averages of the weights stay sparse, too.

        Returns:
            A function that ends this.
        """
        return optimizer.register_step_post_hook(lambda *_: self.apply(network)).remove


def sparsify(network: nn.Module, fraction: float, *, scope: str = 'layer') -> Sparsity:
    """Set the weights with the smallest magnitudes to zero, in place (Han et al. 2016, section 2).

    Args:
        network: Network whose kernels are changed; biases, normalisations and slopes are not.
        fraction: Fraction of the weights that become zero, 0..1.
        scope: 'layer' for the same fraction of each kernel, 'global' for all kernels together.

    Returns:
        Masks that keep these weights at zero while the network learns.

    Raises:
        ParameterError: ``fraction`` is out of range.
        UnknownNameError: The scope is unknown.
    """
    if not 0 <= fraction <= 1:
        raise ParameterError(f'fraction of weights to set to zero is {fraction}; expected 0..1')
    if scope not in ('layer', 'global'):
        raise UnknownNameError('scope', scope, ['layer', 'global'])
    kernels = {name: p.detach() for name, p in network.named_parameters() if p.ndim > 1}
    magnitudes = {name: kernel.abs().flatten() for name, kernel in kernels.items()}
    if scope == 'layer':
        masks = {name: _mask_of_largest(values, fraction) for name, values in magnitudes.items()}
    else:
        together = _mask_of_largest(torch.cat(list(magnitudes.values())), fraction)
        parts = torch.split(together, [len(values) for values in magnitudes.values()])
        masks = dict(zip(magnitudes, parts, strict=True))
    sparsity = Sparsity({name: mask.view(kernels[name].shape) for name, mask in masks.items()})
    sparsity.apply(network)
    return sparsity


def _mask_of_largest(values: Tensor, fraction: float) -> Tensor:
    """Mask of (n,) values: False for the smallest ``fraction`` of them."""
    mask = torch.ones_like(values, dtype=torch.bool)
    mask[values.argsort(stable=True)[: round(fraction * len(values))]] = False
    return mask
