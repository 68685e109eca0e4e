"""How the optimizer is driven: the learning rate of each step, and what weight decay applies to."""

import math

from torch import nn


def learning_rate(step: int, n_steps: int, peak: float, warmup: float) -> float:
    """A linear rise to ``peak`` over the first share ``warmup`` of the steps, then half a cosine towards 0.

    Args:
        step: 0 .. n_steps - 1.
        n_steps: of the whole run.
        peak: above 0.
        warmup: 0..1.
    """
    rise = warmup * n_steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(n_steps - rise, 1)))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Convolution kernels with weight decay; normalisation, biases and PReLU slopes without.

    Parameters that need no gradient are left out.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
    return [{'params': kernels, 'weight_decay': weight_decay}, {'params': others, 'weight_decay': 0.0}]
