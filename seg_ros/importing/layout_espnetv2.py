"""Weights of ESPNetv2 for segmentation from its authors' repository EdgeNets."""

from __future__ import annotations

import torch

from seg_ros.errors import ModelFileError
from seg_ros.importing.layouts import Converted, Weights
from seg_ros.networks.espnetv2 import UNUSED, WIDTHS, ESPNetv2

_FIRST = 'base_net.level2_0.act.weight'
_COUNT = '.num_batches_tracked'


def from_edgenets(weights: Weights, n_classes: int) -> Converted:
    """Weights of EdgeNets, for ``ESPNetv2``, which has their names.

    Slopes of strided units that the authors' network does not use are left out.

    Raises:
        ModelFileError: They are of another network or of another number of classes.
    """
    width = len(weights[_FIRST]) if _FIRST in weights else 0
    scales = [scale for scale, channels in WIDTHS.items() if channels[1] == width]
    if not scales:
        raise ModelFileError(f'{_FIRST} is {width or "missing"}; expected {[w[1] for w in WIDTHS.values()]}')
    with torch.device('meta'):
        own = ESPNetv2(n_classes, scale=scales[0]).state_dict()
    for name, value in own.items():
        found = tuple(weights[name].shape) if name in weights else 'missing'
        if not name.endswith(_COUNT) and found != tuple(value.shape):
            raise ModelFileError(f'{name} is {found}; expected {tuple(value.shape)}')
    used = {name for name in weights if name in own or name in UNUSED}
    state = {name: weights[name] for name in own if name in weights}
    return Converted({'scale': scales[0]}, state, used)
