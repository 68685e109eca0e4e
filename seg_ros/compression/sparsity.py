"""Sparsity: single weights are zero, which saves storage but no time.

S. Han, H. Mao, W. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016, section 2.
"""

import torch
from torch import Tensor, nn

from seg_ros.errors import ParameterError, UnknownNameError
from seg_ros.training.sparsity import Sparsity


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
