"""Public weights of ENet: https://github.com/davidtvs/PyTorch-ENet, by its blocks and the order in them.

Each PReLU there has one slope, in old versions the same one in a whole block; here it has a slope for each
channel. The decoder there has ReLU, a PReLU with slope 0. The last full convolution there has no
bias. In new versions, whose activations are named ``out_activation``, the extension of an upsampling block
ends without an activation, a PReLU with slope 1; in old ones, of ``out_prelu``, it ends with one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seg_ros.errors import ModelFileError
from seg_ros.importing.layers_in_order import LayerWeights, layers_of
from seg_ros.importing.layouts import Converted, Weights
from seg_ros.networks.enet import ENet

_END_OF_EXTENSION = 2
"""Position of that activation among those of an upsampling block."""


def from_davidtvs(weights: Weights, n_classes: int) -> Converted:
    """Weights of PyTorch-ENet for ``ENet(form='davidtvs')``.

    Raises:
        ModelFileError: They are of another network or of another number of classes.
    """
    with torch.device('meta'):
        own = _blocks(
            {
                k: v
                for k, v in ENet(n_classes, form='davidtvs').state_dict().items()
                if not k.endswith('tracked')
            }
        )
    given = _blocks(weights)
    if len(given) != len(own):
        raise ModelFileError(
            f'{len(given)} blocks; expected {len(own)}, from initial_block to transposed_conv'
        )
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    is_new = not any(layer.name.endswith('out_prelu') for _, layers in given for layer in layers)
    for (name, theirs), (own_name, ours) in zip(given, own, strict=True):
        has_plain_end = is_new and own_name.startswith('up')
        state |= _block(name, theirs, ours, used, has_plain_end=has_plain_end)
    return Converted({'form': 'davidtvs'}, state, used, 'unit')


def _blocks(state: Weights) -> list[tuple[str, list[LayerWeights]]]:
    """Layers of each block, in order. A block has the first part of its name; in a stage also the second."""
    blocks: dict[str, list[LayerWeights]] = {}
    for layer in layers_of(state):
        parts = layer.name.split('.')
        is_stage = len(parts) > 1 and parts[1].isdecimal() and parts[0].startswith('stage')
        blocks.setdefault('.'.join(parts[: 2 if is_stage else 1]), []).append(layer)
    return list(blocks.items())


def _block(
    name: str, theirs: list[LayerWeights], ours: list[LayerWeights], used: set[str], *, has_plain_end: bool
) -> dict[str, Tensor]:
    """Tensors of one block under our names; the names of theirs are added to ``used``.

    ``has_plain_end``: the extension ends without an activation, so the slope there is 1.
    """
    state: dict[str, Tensor] = {}
    for is_kind in ('is_convolution', 'is_norm'):
        left = [layer for layer in theirs if getattr(layer, is_kind)]
        right = [layer for layer in ours if getattr(layer, is_kind)]
        if len(left) != len(right):
            raise ModelFileError(f'{name} has {len(left)} layers of a kind; expected {len(right)}')
        for given, own in zip(left, right, strict=True):
            state |= _layer(given, own)
            used |= given.names
    slopes = [layer.tensors['weight'] for layer in theirs if layer.is_slope]
    used |= {name for layer in theirs if layer.is_slope for name in layer.names}
    places = [layer for layer in ours if layer.is_slope]
    slopes = slopes or [torch.zeros(1)] * (len(places) - has_plain_end)
    if has_plain_end:
        slopes.insert(_END_OF_EXTENSION, torch.ones(1))
    if len(slopes) != len(places):
        raise ModelFileError(f'{name} has {len(slopes)} slopes; expected {len(places)}, or none for ReLU')
    for slope, own in zip(slopes, places, strict=True):
        if slope.numel() not in (1, own.tensors['weight'].numel()):
            raise ModelFileError(f'{name} has a PReLU of {slope.numel()} slopes; expected 1')
        state[f'{own.name}.weight'] = slope.expand(own.tensors['weight'].shape).clone()
    return state


def _layer(given: LayerWeights, own: LayerWeights) -> dict[str, Tensor]:
    tensors = dict(given.tensors)
    if 'bias' in own.tensors and 'bias' not in tensors:  # the last layer
        tensors['bias'] = torch.zeros(own.tensors['bias'].shape)
    for part, value in own.tensors.items():
        found = tuple(tensors[part].shape) if part in tensors else 'missing'
        if found != tuple(value.shape):
            raise ModelFileError(f'{given.name}.{part} is {found}; expected {tuple(value.shape)}')
    return LayerWeights(given.name, {part: tensors[part] for part in own.tensors}).named(own.name)
