"""The embedding filter: each pixel takes the average of the pixels near it with similar embeddings.

A. Harley, K. Derpanis, I. Kokkinos, "Learning dense convolutional embeddings for semantic segmentation",
arXiv 1511.04377, section 3.3. The weight of pixel j for pixel i is exp(-hardness * |e_i - e_j|), where |.| is
the L1 distance of their embeddings. The average is repeated.

The paper averages scores. Deliberate difference: probabilities are averaged unless a model says otherwise.
Scores are not bounded, so the large scores of a road would win over the small scores of the pavement beside
it.

No tensor is as large as the window times the map. Forward and backward pass go through the window one pair of
places at a time. The mask is symmetric and is computed again where it is needed.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.networks.filter_rules import LEAST_PROBABILITY, Averaged, check_window, is_finer, window_pairs


def filter_scores(
    scores: Tensor,
    embeddings: Tensor,
    hardness: Tensor,
    window: int,
    iterations: int,
    averages: Averaged = 'probabilities',
) -> Tensor:
    """Filter scores by embeddings: average them, or their probabilities, over similar pixels, repeatedly.

    The filter works at the size of the embeddings. Coarser scores are interpolated bilinearly to that size.
    Finer scores keep their detail: their mean in each cell is filtered, and its change, or that of its
    log probabilities, is added to them.

    Args:
        scores: (B, K, H, W) float.
        embeddings: (B, D, h, w) float. If H and W are larger, they are multiples of h and w.
        hardness: () decay of the weight with the distance of embeddings, above 0.
        window: Width and height of the window, odd, see :func:`masked_average`.
        iterations: Number of iterations, 0 or more.
        averages: Values that are averaged.

    Returns:
        (B, K, max(H, h), max(W, w)) float. If probabilities are averaged and the scores are not finer than
        the embeddings, log probabilities.

    Raises:
        ParameterError: The window is even or larger than the map, or the sizes do not fit.
    """
    size = tuple(embeddings.shape[-2:])
    coarse = resize_scores(scores, size)
    if iterations == 0:
        return scores if is_finer(tuple(scores.shape[-2:]), size) else coarse
    has_probabilities = averages == 'probabilities'
    before = coarse.softmax(1).clamp_min(LEAST_PROBABILITY) if has_probabilities else coarse
    after = before
    for _ in range(iterations):
        after = masked_average(after, embeddings, hardness, window)
    if not is_finer(tuple(scores.shape[-2:]), size):
        return after.log() if has_probabilities else after
    change = (after / before).log() if has_probabilities else after - before
    return scores + F.interpolate(change, tuple(scores.shape[-2:]), mode='bilinear')


def resize_scores(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize scores (B, K, H, W) to the size (h, w) of embeddings, by means over cells or by interpolation.

    Raises:
        ParameterError: The scores are finer, but H and W are not multiples of h and w.
    """
    height, width = scores.shape[-2:]
    if (height, width) == size:
        return scores
    if not is_finer((height, width), size):
        return F.interpolate(scores, size, mode='bilinear')
    return F.avg_pool2d(scores, (height // size[0], width // size[1]))


def masked_average(values: Tensor, embeddings: Tensor, hardness: Tensor, window: int) -> Tensor:
    """Mean of the values over a window around each pixel, weighted by the similarity of embeddings.

    Args:
        values: (B, K, h, w) float.
        embeddings: (B, D, h, w) float.
        hardness: () above 0; the weights are exp(-hardness * L1 distance).
        window: Width and height of the window in pixels, odd. It is cropped at the border of the map.

    Returns:
        (B, K, h, w) float; gradients reach all three tensors.

    Raises:
        ParameterError: The window is even or larger than the map.
    """
    check_window(window, tuple(values.shape[-2:]))
    result: Tensor = _MaskedAverage.apply(values, embeddings, hardness, window // 2)  # type: ignore[no-untyped-call]
    return result


class _MaskedAverage(torch.autograd.Function):
    """:func:`masked_average` and its gradients, pair by pair of places."""

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
        weighted = gradients[0] / total  # gradient of the sum under each mask
        own = (weighted * result).sum(1, keepdim=True)
        to_values, to_embeddings = weighted.clone(), torch.zeros_like(embeddings)
        to_hardness = torch.zeros_like(hardness)
        for here, there in window_pairs(values.shape, ctx.radius):
            mask, difference, distance = _mask(embeddings[here], embeddings[there], hardness)
            to_values[there] += mask * weighted[here]
            to_values[here] += mask * weighted[there]
            to_mask = (weighted[here] * values[there] + weighted[there] * values[here]).sum(1, keepdim=True)
            to_mask -= own[here] + own[there]
            to_mask *= mask
            to_hardness -= (to_mask * distance).sum()
            to_difference = -hardness * to_mask * difference.sign()
            to_embeddings[here] += to_difference
            to_embeddings[there] -= to_difference
        return to_values, to_embeddings, to_hardness, None


def _mask(here: Tensor, there: Tensor, hardness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of pairs of pixels (B, 1, h, w), differences of their embeddings (B, D, h, w), L1 distances."""
    difference = here - there
    distance = difference.abs().sum(1, keepdim=True)
    return torch.exp(-hardness * distance), difference, distance
