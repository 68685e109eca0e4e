"""What there is to choose from: literal tables of real objects, the one place to add an entry."""

from collections.abc import Callable

from torch import nn

from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.networks.efficientnet import EfficientNetLitePyramid
from seg_ros.networks.enet import ENet
from seg_ros.networks.fcn import FCN
from seg_ros.networks.hypercolumn import Hypercolumn
from seg_ros.networks.segnet import SegNet, SegNetBasic, SegNetSmall
from seg_ros.networks.squeezenet import SqueezeNetFeatures, SqueezeNetPyramid

MODELS: dict[str, Callable[..., nn.Module]] = {
    'efficientnet_lite_pyramid': EfficientNetLitePyramid,
    'enet': ENet,
    'fcn': FCN,
    'hypercolumn': Hypercolumn,
    'segnet': SegNet,
    'segnet_basic': SegNetBasic,
    'segnet_small': SegNetSmall,
    'squeezenet_pyramid': SqueezeNetPyramid,
}
"""Architectures by name; each is called with the number of classes and its own keyword arguments."""


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    'alexnet': AlexNetFeatures,
    'squeezenet': SqueezeNetFeatures,
}
"""Networks without classes, for models that give codes alone; each is called with its keyword arguments."""
