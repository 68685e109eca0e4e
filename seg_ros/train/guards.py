"""Traps of the libraries that training runs on, and ways around them."""

from torch import nn

from seg_ros.models.layers import Float32Conv2d

_LANES = 16


def guard_dilated_convolutions(network: nn.Module) -> nn.Module:
    """Keep oneDNN's wrong gradients away from pruned networks, in place.

    The weight gradient of a dilated bfloat16 convolution on a CPU is garbage in oneDNN as of torch 2.13, for
    tensors in channels-last order and more than 16 input channels that 16 does not divide; compilers choose
    that order by themselves. Such layers learn in float32.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and max(module.dilation) > 1 and _is_odd(module.in_channels):
            module.__class__ = Float32Conv2d
    return network


def _is_odd(n_channels: int) -> bool:
    return n_channels > _LANES and n_channels % _LANES != 0
