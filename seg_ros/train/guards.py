"""Traps of the libraries that training runs on, and ways around them."""

from torch import nn

from seg_ros.models.layers import Float32Conv2d

_LANES = 16


def guard_convolutions(network: nn.Module) -> nn.Module:
    """Let convolutions learn in float32 whose gradients oneDNN gets wrong or slow in bfloat16, in place.

    As of torch 2.13, on a CPU and for tensors in channels-last order, which compilers choose by themselves:

    - the weight gradient of a dilated convolution with more than 16 input channels that 16 does not divide is
      garbage;
    - gradients of a depthwise convolution with a stride, or with more than 3x3 weights, take 3 to 20 times as
      long as in float32.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and (_is_wrong(module) or _is_slow(module)):
            module.__class__ = Float32Conv2d
    return network


def _is_wrong(layer: nn.Conv2d) -> bool:
    n_channels = layer.in_channels
    return max(layer.dilation) > 1 and n_channels > _LANES and n_channels % _LANES != 0


def _is_slow(layer: nn.Conv2d) -> bool:
    is_depthwise = 1 < layer.groups == layer.in_channels
    return is_depthwise and (max(layer.stride) > 1 or max(layer.kernel_size) > 3)
