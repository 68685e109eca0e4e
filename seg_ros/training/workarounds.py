"""Workarounds for faults of the libraries that training runs on."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seg_ros.networks.layers import Float32Conv2d

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Images and labels -> loss."""

_VECTOR_LENGTH = 16
"""Number of channels that oneDNN computes at once."""
_ROUNDING_NOISE = 1e-4
"""Fraction of the largest gradient norm, for gradients that are 0 but for rounding."""
_MINIMUM_COSINE = 0.3
"""Between two gradients of one batch. bfloat16 and new dropout masks leave more, a wrong compiler less."""


def use_float32_where_needed(network: nn.Module) -> nn.Module:
    """Let convolutions learn in float32 if their bfloat16 gradients are wrong or slow in oneDNN, in place.

    With torch 2.13, on a CPU and for tensors in channels-last order, which compilers choose by themselves:

    - the weight gradient of a dilated convolution is garbage if the number of input channels is above 16 and
      not a multiple of 16;
    - gradients of a depthwise convolution with a stride, or with a kernel above 3x3, take 3 to 20 times as
      long as in float32.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and (_has_wrong_gradient(module) or _has_slow_gradient(module)):
            module.__class__ = Float32Conv2d
    return network


def _has_wrong_gradient(layer: nn.Conv2d) -> bool:
    n_channels = layer.in_channels
    return max(layer.dilation) > 1 and n_channels > _VECTOR_LENGTH and n_channels % _VECTOR_LENGTH != 0


def _has_slow_gradient(layer: nn.Conv2d) -> bool:
    is_depthwise = 1 < layer.groups == layer.in_channels
    return is_depthwise and (max(layer.stride) > 1 or max(layer.kernel_size) > 3)


def find_gradient_faults(
    compiled: LossFunction, reference: LossFunction, network: nn.Module, batch: tuple[Tensor, Tensor]
) -> str:
    """Compare the gradients of a compiled training step with those of the plain step.

    Compilers sometimes give the layers before an upsampling a gradient of 0, without any message. Such a
    network learns, but badly.

    Args:
        compiled: The compiled step.
        reference: The same step, not compiled.
        network: Network that both run. Its gradients are dropped, its buffers stay as they are.
        batch: Images and labels.

    Returns:
        Description of the faults; '' if the gradients agree.
    """
    state = torch.get_rng_state()
    buffers = [buffer.clone() for buffer in network.buffers()]
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    got = _gradients(compiled, network, learning, batch)
    expected = _gradients(reference, network, learning, batch)
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)
    torch.set_rng_state(state)
    return _describe_faults(list(learning), got, expected)


def _gradients(
    step: LossFunction, network: nn.Module, learning: dict[str, nn.Parameter], batch: tuple[Tensor, Tensor]
) -> list[Tensor]:
    """Gradients of the learning parameters for one batch; those of the network are dropped afterwards."""
    network.zero_grad(set_to_none=True)
    step(*batch).backward()  # type: ignore[no-untyped-call]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning.values()]
    network.zero_grad(set_to_none=True)
    return gradients


def _describe_faults(names: list[str], got: list[Tensor], expected: list[Tensor]) -> str:
    noise = _ROUNDING_NOISE * max(float(gradient.norm()) for gradient in expected)
    pairs = zip(names, got, expected, strict=True)
    lost = [name for name, one, other in pairs if other.norm() > noise and not one.any()]
    if lost:
        return f'{len(lost)} of {len(names)} tensors get no gradient, such as {lost[0]}'
    one, other = (torch.cat([part.double().flatten() for part in parts]) for parts in (got, expected))
    cosine = float(torch.cosine_similarity(one, other, dim=0))
    return '' if cosine > _MINIMUM_COSINE else f'cosine {cosine:.2f}'
