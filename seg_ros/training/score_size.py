"""Scores and probabilities at the size of labels."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def at_size(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (B, K, h, w) scores to a (height, width), in the same way as for labels."""
    return scores if scores.shape[-2:] == torch.Size(size) else _interpolated(scores, tuple(size))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _interpolated(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """Not compiled: torch 2.13 fuses it with a convolution and the Jaccard loss to gradients of 0."""
    return F.interpolate(scores, size, mode='bilinear')
