"""Settings of the optimizer: the learning rate of each step, and the parameters with weight decay."""

import math

from torch import nn


def learning_rate(step: int, n_steps: int, peak: float, warmup: float) -> float:
    """Learning rate: a linear rise to the peak, then half a cosine towards 0.

    Args:
        step: Number of the step, 0 .. n_steps - 1.
        n_steps: Number of steps of the whole run.
        peak: Peak learning rate, above 0.
        warmup: Fraction of the steps that the rise takes, 0..1.
    """
    rise = warmup * n_steps
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(n_steps - rise, 1)))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups: kernels with weight decay; biases, normalisations and PReLU slopes without.

    Parameters without a gradient are left out.
    """
    learning = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in learning if p.ndim > 1]
    others = [p for p in learning if p.ndim <= 1]
    return [{'params': kernels, 'weight_decay': weight_decay}, {'params': others, 'weight_decay': 0.0}]
