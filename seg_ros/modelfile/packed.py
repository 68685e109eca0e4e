"""Conversion of a network to packed weights and back.

Packed weights are whole steps or codebooks. Other parameters have 16 bits, and batch normalisations keep one
scale and one shift per channel. :func:`rounded_to_file` gives a network exactly these values, so that it
agrees with its file to the bit. Figures and golden records are taken from the rounded network.
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.packing import Form, forms_of, pack, unpack
from seg_ros.networks.graph.channels import shrink
from seg_ros.quantization.batch_norm_folding import canonical_batch_norms, find_pairs
from seg_ros.quantization.int8 import rounded, stop_rounding_inputs, weight_steps
from seg_ros.quantization.weight_sharing import (
    SharedWeight,
    bits_of,
    output_axis,
    share_network,
    unshare,
    weighted_layers,
)

_BITS = {'int8': 8, 'int4': 4}
_STEPS = {n_bits: kind for kind, n_bits in _BITS.items()}
_OTHERS = torch.float16


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy of a network without the parametrisations of training at a level.

    Shared weights get their present values, fake-quantized weights the values before rounding. Torch's own
    removal of parametrisations from a copy would break the original, because both have the same class.
    """
    result = copy.deepcopy(network)
    stop_rounding_inputs(result)
    for _, module in weighted_layers(result):
        if not parametrize.is_parametrized(module, 'weight'):
            continue
        chain = cast(Any, module.parametrizations).weight
        value = module.weight if isinstance(chain[0], SharedWeight) else chain.original
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        module.weight = nn.Parameter(value.detach().clone())
    return result


def rounded_to_file(network: nn.Module, kind: str, example: Tensor, *, n_bits: int = 8) -> nn.Module:
    """A copy of a network, rounded to the values that a packed file keeps.

    Args:
        network: Float network.
        kind: Kind of weights: 'int8', 'int4' or 'shared'.
        example: (B, 3, H, W) float input of any small size.
        n_bits: Number of bits of an index of shared weights; more in depthwise layers
            (weight_sharing.bits_of).

    Returns:
        The same architecture in evaluation mode, float32.
    """
    result = plain_copy(network).eval()
    # All channels of a layer share one codebook. The scales of channels may differ by a factor of a thousand,
    # so they must stay in the normalisations. Steps have a scale per channel anyway.
    canonical_batch_norms(result, [] if kind == 'shared' else find_pairs(result, example))
    if kind == 'shared':
        is_shared = all(
            len(torch.unique(layer.weight.detach())) <= 2 ** bits_of(layer, n_bits)
            for _, layer in weighted_layers(result)
        )
        if not is_shared:
            unshare(share_network(result, n_bits))
    else:
        rounded(result, _BITS[kind])
    weights = {f'{name}.weight' for name, _ in weighted_layers(result)}
    with torch.no_grad():
        for name, value in result.named_parameters():
            if name not in weights:
                value.copy_(value.to(_OTHERS))
    return result.requires_grad_(True)


def pack_network(network: nn.Module, kind: str) -> bytes:
    """Pack a network that is rounded to the file.

    Raises:
        ModelFileError: The network would change in the file, so it was not rounded before.
    """
    forms = forms_of(network, kind)
    if kind in _BITS:
        for name, module in weighted_layers(network):
            n_bits, axis = bits_of(module, _BITS[kind]), output_axis(module)
            _, scale = weight_steps(module.weight, n_bits, axis)
            forms[f'{name}.weight'] = Form(_STEPS[n_bits], axis, scale)
    state = network.state_dict()
    data = pack(state, forms)
    again = unpack(data, {name: value.shape for name, value in state.items()})
    for name, value in state.items():
        if value.is_floating_point() and not torch.equal(again[name], value.detach().cpu().float()):
            raise ModelFileError(f'{name} would change in a file of kind {kind}; apply rounded_to_file first')
    return data


def unpack_network(data: bytes, network: nn.Module, *, is_pruned: bool) -> dict[str, Tensor]:
    """Unpack the state of a network.

    Args:
        data: Packed weights, from :func:`pack_network`.
        network: New network of the architecture, on any device; it is shrunk to the unpacked shapes.
        is_pruned: Whether tensors may be smaller than in the architecture.

    Raises:
        ModelFileError: The data are damaged or belong to another network.
    """
    largest = {name: value.shape for name, value in network.state_dict().items()}
    state = unpack(data, largest)
    shapes = {name: value.shape for name, value in state.items()}
    if shapes != largest:
        if not is_pruned:
            name = next(name for name in shapes if shapes[name] != largest[name])
            raise ModelFileError(f'{name} has shape {shapes[name]}; its architecture has {largest[name]}')
        shrink(network, shapes)
    return state
