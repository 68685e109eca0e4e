"""Public weights of SegNet: 26 convolutions in order, each but the last with a batch normalisation.

Ports of SegNet name their layers in many ways (``conv11`` and ``bn11``, ``down1.conv1.cbr_unit.0``,
``encoder_conv_00.0``), but all have the layers of VGG16, then those of the decoder. So order and shapes
decide. Biases before a normalisation are subtracted from its running mean. Full convolutions of 3x3 with
stride 1, which some ports have in the decoder, become convolutions with turned kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seg_ros.errors import ModelFileError
from seg_ros.importing.layers_in_order import LayerWeights, layers_of
from seg_ros.importing.layouts import Converted, Weights
from seg_ros.networks.segnet import SegNet

_N_ENCODER = 13
_EPSILON = 1e-5
_RELU = (
    'a port that ends in a normalisation may have a ReLU after it, which is left out: labels agree '
    'wherever a score is above 0'
)


def in_order(weights: Weights, n_classes: int) -> Converted:
    """Weights of a port of SegNet, for ``SegNet``.

    Raises:
        ModelFileError: They are of another network or of another number of classes.
    """
    layers = [layer for layer in layers_of(weights) if layer.is_convolution or layer.is_norm]
    given = [layer for layer in layers if layer.is_convolution]
    norms = _norms_after(layers)
    width = int(given[0].tensors['weight'].shape[0]) if given else 64
    with torch.device('meta'):
        network = SegNet(n_classes, width=width)
    ours = layers_of({k: v for k, v in network.state_dict().items() if not k.endswith('tracked')})
    own = [layer for layer in ours if layer.is_convolution]
    own_norms = _norms_after(ours)
    if len(given) != len(own):
        raise ModelFileError(f'{len(given)} convolutions; expected {len(own)}, 13 of VGG16 and 13 after them')
    kernels = [layer.tensors['weight'] for layer in given]
    if _are_turned(kernels, [layer.tensors['weight'] for layer in own]):
        kernels[_N_ENCODER:] = [kernel.transpose(0, 1).flip(2, 3) for kernel in kernels[_N_ENCODER:]]
    state: dict[str, Tensor] = {}
    notes: list[str] = []
    for theirs, kernel, ours_layer in zip(given, kernels, own, strict=True):
        want = tuple(ours_layer.tensors['weight'].shape)
        if tuple(kernel.shape) != want:
            raise ModelFileError(f'{theirs.name}.weight is {tuple(kernel.shape)}; expected {want}')
        bias = theirs.tensors.get('bias', torch.zeros(want[0]))
        norm, own_norm = norms.get(theirs.name), own_norms.get(ours_layer.name)
        if own_norm is None:
            kernel, bias, ends = _folded(kernel, bias, norm)
            notes += [_RELU] if ends else []
            state |= {f'{ours_layer.name}.weight': kernel.contiguous(), f'{ours_layer.name}.bias': bias}
            continue
        if norm is None:
            raise ModelFileError(f'{theirs.name} has no batch normalisation after it; expected one')
        state[f'{ours_layer.name}.weight'] = kernel.contiguous()
        moved = {**norm.tensors, 'running_mean': norm.tensors['running_mean'] - bias}
        state |= LayerWeights(norm.name, moved).named(own_norm.name)
    return Converted({'width': width}, state, {name for layer in layers for name in layer.names}, notes=notes)


def _norms_after(layers: list[LayerWeights]) -> dict[str, LayerWeights]:
    """Name of a convolution -> the normalisation that follows it.

    Ports that list all convolutions of a scale before its normalisations are refused by their shapes.
    """
    found: dict[str, LayerWeights] = {}
    for before, layer in zip([None, *layers], layers, strict=False):
        if before is not None and layer.is_norm and before.is_convolution:
            found[before.name] = layer
    return found


def _are_turned(kernels: list[Tensor], own: list[Tensor]) -> bool:
    """Whether the decoder has full convolutions: its first layers that change their channels say so."""
    for kernel, want in zip(kernels[_N_ENCODER:], own[_N_ENCODER:], strict=True):
        outputs, inputs = want.shape[:2]
        if outputs != inputs:
            return tuple(kernel.shape[:2]) == (inputs, outputs)
    return False


def _folded(kernel: Tensor, bias: Tensor, norm: LayerWeights | None) -> tuple[Tensor, Tensor, bool]:
    """Kernel and bias of the last convolution with its normalisation, and whether there was one."""
    if norm is None:
        return kernel, bias, False
    tensors = norm.tensors
    scale = tensors['weight'] / (tensors['running_var'] + _EPSILON).sqrt()
    shift = tensors['bias'] + (bias - tensors['running_mean']) * scale
    return kernel * scale.view(-1, 1, 1, 1), shift, True
