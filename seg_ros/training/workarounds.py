"""Traps of the libraries that training runs on, and ways around them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seg_ros.networks.layers import Float32Conv2d

Step = Callable[[Tensor, Tensor], Tensor]
"""Images and labels -> loss."""

_LANES = 16
_NOISE = 1e-4
"""Of the largest gradient: that of a bias before a normalisation is 0 but for the rounding."""
_LEAST_COSINE = 0.3
"""Between two gradients of one batch: bfloat16 and dropout drawn anew leave more, a wrong compiler less."""


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


def faults_of_gradients(step: Step, reference: Step, network: nn.Module, batch: tuple[Tensor, Tensor]) -> str:
    """What is wrong with the gradients of a step; '' if they are those of the reference.

    Compilers have been seen to give the layers before an upsampling a gradient of 0, without a word: such a
    network learns, but badly.

    Args:
        step: compiled.
        reference: the same, not compiled.
        network: that both run; its gradients are dropped, its buffers stay as they are.
        batch: images and labels.
    """
    state = torch.get_rng_state()
    buffers = [buffer.clone() for buffer in network.buffers()]
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    gradients = []
    for run in (step, reference):
        network.zero_grad(set_to_none=True)
        run(*batch).backward()  # type: ignore[no-untyped-call]
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in learning.values()])
    network.zero_grad(set_to_none=True)
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)
    torch.set_rng_state(state)

    noise = _NOISE * max(float(expected.norm()) for expected in gradients[1])
    pairs = zip(learning, *gradients, strict=True)
    lost = [name for name, got, expected in pairs if expected.norm() > noise and not got.any()]
    got, expected = (torch.cat([part.double().flatten() for part in parts]) for parts in gradients)
    cosine = float(torch.cosine_similarity(got, expected, dim=0))
    if lost:
        return f'{len(lost)} of {len(learning)} tensors get no gradient, such as {lost[0]}'
    return f'cosine {cosine:.2f}' if not cosine > _LEAST_COSINE else ''
