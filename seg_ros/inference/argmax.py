"""From scores to labels: bilinear upsampling, argmax and softmax in one pass over the image.

Pixel centres are aligned as in ``torch.nn.functional.interpolate(mode='bilinear', align_corners=False)``. A
pixel is unlabelled, with confidence 0, if one of the interpolated scores is infinite or NaN: a network that
overflows must not look certain.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import ImageError, ParameterError
from seg_ros.images.interpolation import neighbours_1d

_VALUES_PER_THREAD = 200_000
"""Number of interpolated scores below which another thread costs more than it saves."""

KERNELS = (
    'seg_ros.inference.argmax_kernels',
    'labels are computed by torch, which takes many times longer on a CPU',
)


class Labelled(NamedTuple):
    """Labels of one image.

    Attributes:
        labels: (H, W) uint8, class id of each pixel, 255 = unlabelled.
        confidence: (H, W) uint8, round(255 * largest softmax probability); None unless asked for.
    """

    labels: UInt8Array
    confidence: UInt8Array | None = None


def argmax_labels(
    scores: Tensor,
    height: int,
    width: int,
    *,
    with_confidence: bool = False,
    confidence_threshold: float = 0.0,
    temperature: float = 1.0,
    n_threads: int = 0,
) -> Labelled:
    """Labels of one image at the image's size, with confidence on demand.

    Args:
        scores: (K, h, w) floating point, K in 1..255, in any memory format, on any device.
        height: Height of the result in pixels, 1 or more.
        width: Width of the result in pixels, 1 or more.
        with_confidence: Whether to compute the confidence too.
        confidence_threshold: Softmax probability, 0..1, below which a pixel becomes unlabelled.
        temperature: Divisor of the scores in the confidence, above 0 (Guo et al., "On calibration of modern
            neural networks", ICML 2017, equation 9).
        n_threads: Maximum number of threads, on the CPU only; 0 = one per core.

    Returns:
        (height, width) labels, and confidence or None. Of classes with equal scores the lowest id wins.

    Raises:
        ImageError: Scores or size have an impossible shape.
        ParameterError: ``confidence_threshold``, ``temperature`` or ``n_threads`` is out of range.
    """
    _check(scores, height, width, confidence_threshold, temperature, n_threads)
    kernels = import_kernels(*KERNELS) if scores.device.type == 'cpu' else None
    if kernels is None:
        return argmax_labels_reference(
            scores,
            height,
            width,
            with_confidence=with_confidence,
            confidence_threshold=confidence_threshold,
            temperature=temperature,
        )
    scores = dense(scores.detach().float())
    flat = scores.as_strided((scores.numel(),), (1,)).numpy()
    n_classes, h, w = scores.shape
    rows, columns = neighbours_1d(h, height), neighbours_1d(w, width)
    labels = np.empty((height, width), np.uint8)
    needed = with_confidence or confidence_threshold > 0
    confidence = np.empty((height, width) if needed else (0, 0), np.uint8)
    certainty = np.float32(confidence_threshold), np.float32(1 / temperature)

    def run(start: int, stop: int) -> None:
        strides, shape = scores.stride(), (n_classes, h, w)
        kernels.argmax_rows(flat, strides, shape, rows, columns, certainty, start, stop, labels, confidence)

    n_parts = min(n_threads or n_cores(), 1 + labels.size * n_classes // _VALUES_PER_THREAD)
    run_in_parts(run, height, n_parts)
    return Labelled(labels, confidence if with_confidence else None)


def argmax_labels_reference(
    scores: Tensor,
    height: int,
    width: int,
    *,
    with_confidence: bool = False,
    confidence_threshold: float = 0.0,
    temperature: float = 1.0,
) -> Labelled:
    """The same as ``argmax_labels`` in torch's own operations: for scores on a GPU, and as the reference."""
    _check(scores, height, width, confidence_threshold, temperature)
    scores = scores.detach().float()
    if scores.shape[1:] != (height, width):
        scores = torch.nn.functional.interpolate(scores[None], (height, width), mode='bilinear')[0]
    best, classes = scores.max(0)
    unlabelled = ~scores.isfinite().all(0)
    confidence = None
    if with_confidence or confidence_threshold > 0:
        probability = torch.exp(best / temperature - (scores / temperature).logsumexp(0)).masked_fill(
            unlabelled, 0
        )
        unlabelled |= probability < confidence_threshold
        if with_confidence:
            confidence = (255 * probability).round().to(torch.uint8).cpu().numpy()
    labels = classes.to(torch.uint8).masked_fill(unlabelled, UNLABELLED)
    return Labelled(labels.cpu().numpy(), confidence)


def _check(
    scores: Tensor, height: int, width: int, threshold: float, temperature: float, n_threads: int = 0
) -> None:
    if scores.ndim != 3 or not 1 <= scores.shape[0] <= UNLABELLED or not scores.numel():
        raise ImageError(
            f'scores have shape {tuple(scores.shape)}; expected (K, h, w) with 1 to {UNLABELLED} classes, '
            'one image at a time'
        )
    if height < 1 or width < 1:
        raise ImageError(f'labels of {height}x{width} pixels were asked for; expected 1x1 or more')
    if not 0 <= threshold <= 1:
        raise ParameterError(f'confidence_threshold is {threshold}; expected a probability in 0..1')
    if not 0 < temperature < math.inf:
        raise ParameterError(f'temperature is {temperature}; expected a number above 0')
    if n_threads < 0:
        raise ParameterError(f'n_threads is {n_threads}; expected 1 or more, or 0 for one per core')


def dense(scores: Tensor) -> Tensor:
    """Contiguous scores in (K, h, w) or (h, w, K) order, copied only if needed."""
    return scores if is_by_pixel(scores) else scores.contiguous()


def is_by_pixel(scores: Tensor) -> bool:
    """Whether the scores (K, h, w) of each pixel are contiguous in memory."""
    return scores.permute(1, 2, 0).is_contiguous()
