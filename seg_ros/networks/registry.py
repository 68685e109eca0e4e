"""Network architectures and encoders, by name: add one here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seg_ros.errors import LazyTable

if TYPE_CHECKING:
    from torch import nn

MODELS: LazyTable[Callable[..., nn.Module]] = LazyTable(
    {
        'efficientnet_lite_pyramid': 'seg_ros.networks.efficientnet:EfficientNetLitePyramid',
        'enet': 'seg_ros.networks.enet:ENet',
        'espnetv2': 'seg_ros.networks.espnetv2:ESPNetv2',
        'fcn': 'seg_ros.networks.fcn:FCN',
        'hypercolumn': 'seg_ros.networks.hypercolumn:Hypercolumn',
        'segnet': 'seg_ros.networks.segnet:SegNet',
        'segnet_basic': 'seg_ros.networks.segnet:SegNetBasic',
        'segnet_small': 'seg_ros.networks.segnet:SegNetSmall',
        'squeezenet_pyramid': 'seg_ros.networks.squeezenet:SqueezeNetPyramid',
    }
)
"""Architectures; each is called with the number of classes and its own keyword arguments."""

ENCODERS: LazyTable[Callable[..., nn.Module]] = LazyTable(
    {
        'alexnet': 'seg_ros.networks.alexnet:AlexNetFeatures',
        'squeezenet': 'seg_ros.networks.squeezenet:SqueezeNetFeatures',
    }
)
"""Networks without classes, for models that give codes alone; each is called with its keyword arguments."""
