"""The filter that learned embeddings drive: each pixel takes the average of what looks the same nearby.

A. Harley, K. Derpanis, I. Kokkinos, "Learning dense convolutional embeddings for semantic segmentation",
arXiv 1511.04377, section 3.3: pixel j counts for pixel i as much as exp(-hardness * |e_i - e_j|), the L1
distance of their embeddings, and the average is taken again and again.

Deliberate difference: probabilities are averaged, not scores. Scores have no bounds, so the large ones of a
road would win over the small ones of the pavement beside it.

Nothing here is as large as the window times the map: forward and backward go through the window pair by pair
of places, and the mask, which is symmetric, is computed anew where it is needed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.errors import ParameterError

LEAST_PROBABILITY = 1e-6
"""What counts as impossible, so that logarithms stay finite."""


def filter_scores(
    scores: Tensor, embeddings: Tensor, hardness: Tensor, window: int, iterations: int
) -> Tensor:
    """Scores whose probabilities are averaged again and again over what the embeddings hold for one thing.

    The filter works at the embeddings' size. Coarser scores are brought to it, bilinearly; of finer ones the
    mean in each cell is filtered and the change of its log probabilities added, so that they keep their
    detail.

    Args:
        scores: (B, K, H, W) float.
        embeddings: (B, D, h, w) float; H and W are multiples of h and w where they are larger.
        hardness: () above 0.
        window: odd, 1 or more, and at most twice the map: see :func:`masked_average`.
        iterations: how often, 0 or more.

    Returns:
        (B, K, max(H, h), max(W, w)); where the scores are no finer than the embeddings, log probabilities.

    Raises:
        ParameterError: the window is even or larger than the map, or the sizes do not fit.
    """
    size = tuple(embeddings.shape[-2:])
    coarse = resize_scores(scores, size)
    if iterations == 0:
        return scores if is_finer(tuple(scores.shape[-2:]), size) else coarse
    before = coarse.softmax(1).clamp_min(LEAST_PROBABILITY)
    after = before
    for _ in range(iterations):
        after = masked_average(after, embeddings, hardness, window)
    return add_change(scores, before, after)


def add_change(scores: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """What filtering changed in probabilities (B, K, h, w), brought into the scores (B, K, H, W) they are of.

    Returns:
        Logarithms of ``after`` where the scores were coarser or of that size, else (B, K, H, W).
    """
    if not is_finer(tuple(scores.shape[-2:]), tuple(before.shape[-2:])):
        return after.log()
    return scores + F.interpolate((after / before).log(), tuple(scores.shape[-2:]), mode='bilinear')


def resize_scores(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, K, H, W) scores at the size (h, w) of embeddings: means over cells, or interpolated.

    Raises:
        ParameterError: neither size is a multiple of the other.
    """
    height, width = scores.shape[-2:]
    if (height, width) == size:
        return scores
    if not is_finer((height, width), size):
        return F.interpolate(scores, size, mode='bilinear')
    return F.avg_pool2d(scores, (height // size[0], width // size[1]))


def is_finer(size: tuple[int, ...], than: tuple[int, ...]) -> bool:
    """Whether a map of (H, W) is larger than one of (h, w), cell by cell.

    Raises:
        ParameterError: it is, but H and W are no multiples of h and w.
    """
    if size[0] <= than[0] and size[1] <= than[1]:
        return False
    if size[0] % than[0] or size[1] % than[1]:
        raise ParameterError(
            f'scores of {size[0]}x{size[1]} and embeddings of {than[0]}x{than[1]}; expected a multiple'
        )
    return True


def masked_average(values: Tensor, embeddings: Tensor, hardness: Tensor, window: int) -> Tensor:
    """Mean over a window of the values, weighted by how alike the embeddings are.

    Args:
        values: (B, K, h, w) float.
        embeddings: (B, D, h, w) float.
        hardness: () above 0: the mask is exp(-hardness * L1 distance).
        window: width and height of the window in pixels, odd; it is cut off at the border of the map.

    Returns:
        (B, K, h, w); gradients reach all three tensors.

    Raises:
        ParameterError: the window is even, or larger than the map.
    """
    check_window(window, tuple(values.shape[-2:]))
    result: Tensor = _MaskedAverage.apply(values, embeddings, hardness, window // 2)  # type: ignore[no-untyped-call]
    return result


def check_window(window: int, size: tuple[int, ...]) -> None:
    """Refuse a window that is even, or larger than a map of (h, w)."""
    if window < 1 or window % 2 == 0 or window > min(size):
        raise ParameterError(
            f'embedding filter: a window of {window}; expected an odd number of pixels, at most '
            f'{min(size) - (min(size) + 1) % 2}, since the embeddings of the image are {size[0]}x{size[1]}'
        )


class _MaskedAverage(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, embeddings: Tensor, hardness: Tensor, radius: int) -> Tensor:
        total = torch.ones_like(values[:, :1])
        result = values.clone()
        for here, there in window_pairs(values.shape, radius):
            mask = _mask(embeddings[here], embeddings[there], hardness)[0]
            result[here] += mask * values[there]
            result[there] += mask * values[here]
            total[here] += mask
            total[there] += mask
        result /= total
        ctx.save_for_backward(values, embeddings, hardness, result, total)
        ctx.radius = radius
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        values, embeddings, hardness, result, total = ctx.saved_tensors
        share = gradients[0] / total  # of a value's gradient that each pixel under its mask gets
        own = (share * result).sum(1, keepdim=True)
        to_values, to_embeddings = share.clone(), torch.zeros_like(embeddings)
        to_hardness = torch.zeros_like(hardness)
        for here, there in window_pairs(values.shape, ctx.radius):
            mask, difference, distance = _mask(embeddings[here], embeddings[there], hardness)
            to_values[there] += mask * share[here]
            to_values[here] += mask * share[there]
            to_mask = (share[here] * values[there] + share[there] * values[here]).sum(1, keepdim=True)
            to_mask -= own[here] + own[there]
            to_mask *= mask
            to_hardness -= (to_mask * distance).sum()
            to_difference = -hardness * to_mask * difference.sign()
            to_embeddings[here] += to_difference
            to_embeddings[there] -= to_difference
        return to_values, to_embeddings, to_hardness, None


def window_pairs(shape: Sequence[int], radius: int) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Each two places of a window once, as two views of a map: a pixel, and the one some way behind it.

    Args:
        shape: (..., h, w) of the map.
        radius: of the window, which spans 2 * radius + 1 pixels each way.
    """
    height, width = shape[-2:]
    for down in range(radius + 1):
        for right in range(-radius, radius + 1):
            if down > 0 or right > 0:
                here = slice(0, height - down), slice(max(-right, 0), width - max(right, 0))
                there = slice(down, height), slice(max(right, 0), width - max(-right, 0))
                yield (..., *here), (..., *there)


def _mask(here: Tensor, there: Tensor, hardness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mask of pairs (B, 1, h, w), the differences of their embeddings (B, D, h, w), and their L1 norm."""
    difference = here - there
    distance = difference.abs().sum(1, keepdim=True)
    return torch.exp(-hardness * distance), difference, distance
