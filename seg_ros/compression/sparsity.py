"""Sparsity: single weights at zero, which saves storage, not time.

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
    """Which weights of a network are zero and stay so.

    Attributes:
        masks: name of a kernel -> True where its weights stay, of the kernel's shape.
    """

    masks: dict[str, Tensor]

    @property
    def share(self) -> float:
        """Share of the masked weights that are zero, 0..1."""
        n_all = sum(mask.numel() for mask in self.masks.values())
        return 1 - sum(int(mask.sum()) for mask in self.masks.values()) / max(n_all, 1)

    def apply(self, network: nn.Module) -> None:
        """Set the masked weights to zero, in place."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                network.get_parameter(name).mul_(mask)

    def follow(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> Callable[[], None]:
        """Apply after each step of an optimizer; returns what ends that. Averages of weights stay sparse."""
        return optimizer.register_step_post_hook(lambda *_: self.apply(network)).remove


def sparsify(network: nn.Module, share: float, *, scope: str = 'layer') -> Sparsity:
    """Set the weights of least magnitude to zero, in place (Han et al. 2016, "Deep compression").

    Args:
        network: its kernels are changed, not its biases, normalisations and slopes.
        share: of the weights that become zero, 0..1.
        scope: 'layer', the same share of each kernel, or 'global', of all together.

    Returns:
        What keeps them at zero while the network learns.

    Raises:
        ParameterError: ``share`` is out of range.
        UnknownNameError: there is no such scope.
    """
    if not 0 <= share <= 1:
        raise ParameterError(f'share of weights to set to zero is {share}; expected 0..1')
    if scope not in ('layer', 'global'):
        raise UnknownNameError('scope', scope, ['layer', 'global'])
    kernels = {name: p.detach() for name, p in network.named_parameters() if p.ndim > 1}
    sizes = {name: kernel.abs().flatten() for name, kernel in kernels.items()}
    if scope == 'layer':
        flat = {name: _largest(size, share) for name, size in sizes.items()}
    else:
        together = _largest(torch.cat(list(sizes.values())), share)
        parts = torch.split(together, [len(size) for size in sizes.values()])
        flat = dict(zip(sizes, parts, strict=True))
    sparsity = Sparsity({name: mask.view(kernels[name].shape) for name, mask in flat.items()})
    sparsity.apply(network)
    return sparsity


def _largest(sizes: Tensor, share: float) -> Tensor:
    """(n,) -> True for all but the smallest ``share`` of them."""
    mask = torch.ones_like(sizes, dtype=torch.bool)
    mask[sizes.argsort(stable=True)[: round(share * len(sizes))]] = False
    return mask
