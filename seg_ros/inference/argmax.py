"""From scores to labels: bilinear upsampling, argmax and softmax in one pass over the image.

Pixel centres are aligned as in ``torch.nn.functional.interpolate(mode='bilinear', align_corners=False)``. A
pixel is unlabelled, with confidence 0, if one of the interpolated scores is infinite or NaN: a network that
overflows must not look certain.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import (
    UNLABELLED,
    Float32Array,
    Maps,
    UInt8Array,
    blocks_of,
    in_memory,
    is_folded,
    map_shape,
    moved_to_memory,
    unfolded,
)
from seg_ros.errors import ImageError, ParameterError
from seg_ros.images.interpolation import neighbours_1d

_N_AXES = 3
_VALUES_PER_THREAD = 200_000
"""Number of interpolated scores below which another thread costs more than it saves."""

_MOST_VALUES_ON_GPU = 100_000_000
"""Number of interpolated scores above which a GPU, which keeps several such arrays, would need gigabytes."""

KERNELS = (
    'seg_ros.inference.argmax_kernels',
    'labels are computed by NumPy, which takes several times longer',
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
    scores: Maps,
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
        scores: (K, h, w) floating point, K in 1..255, in any order in memory, on any device; or folded, see
            :func:`seg_ros.arrays.unfolded`.
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
    check_request(scores, height, width, confidence_threshold, temperature, n_threads)
    array = in_memory(scores)
    if array is None and height * width * len(scores) > _MOST_VALUES_ON_GPU:
        array = moved_to_memory(scores)
    if array is None:
        from seg_ros.inference.torch_argmax import argmax_labels_in_torch  # scores on a GPU

        return argmax_labels_in_torch(
            scores,
            height,
            width,
            with_confidence=with_confidence,
            confidence_threshold=confidence_threshold,
            temperature=temperature,
        )
    needed = with_confidence or confidence_threshold > 0
    kernels = import_kernels(*KERNELS)
    if kernels is None:
        labels, confidence = _without_kernels(
            unfolded(array), (height, width), confidence_threshold, temperature, needed
        )
        return Labelled(labels, confidence if with_confidence else None)
    from seg_ros.inference.label_kernels import label_rows  # needs Numba, which is there

    flat, strides = flattened(array)
    n_classes, h, w = map_shape(array)
    rows, columns = neighbours_1d(h, height), neighbours_1d(w, width)
    labels = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width) if needed else (0, 0), np.uint8)
    certainty = np.float32(confidence_threshold), np.float32(1 / temperature)

    def run(start: int, stop: int) -> None:
        shape = n_classes, h, w
        if needed:
            kernels.argmax_rows(
                flat, strides, shape, rows, columns, certainty, start, stop, labels, confidence
            )
        else:
            label_rows(flat, strides, shape, rows, columns, start, stop, labels)

    n_parts = min(n_threads or n_cores(), 1 + labels.size * n_classes // _VALUES_PER_THREAD)
    run_in_parts(run, height, n_parts)
    return Labelled(labels, confidence if with_confidence else None)


def check_request(
    scores: Maps, height: int, width: int, threshold: float, temperature: float, n_threads: int = 0
) -> None:
    """Check the arguments of :func:`argmax_labels`, which names the errors."""
    is_map = scores.ndim == _N_AXES or is_folded(scores)
    if not is_map or not 1 <= scores.shape[0] <= UNLABELLED or 0 in scores.shape:
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


def flattened(scores: Float32Array) -> tuple[Float32Array, tuple[int, int, int, int, int]]:
    """Scores in the order that they have in memory, and the steps from one to the next.

    Args:
        scores: (K, h, w), or folded, see :func:`seg_ros.arrays.unfolded`.

    Returns:
        (K * h * w,) float32, without gaps, copied only if needed; steps, see
        ``seg_ros.inference.score_rows.Strides``.
    """
    n_classes, h, w = map_shape(scores)
    blocks = blocks_of(scores)
    if blocks is not None:
        return blocks.reshape(-1), (4, 2 * w * n_classes, 2, 4 * n_classes, 1)
    scores = unfolded(scores)
    if is_by_pixel(scores):
        by_pixel = scores.transpose(1, 2, 0).reshape(-1)
        return by_pixel, (1, 2 * w * n_classes, w * n_classes, 2 * n_classes, n_classes)
    return np.ascontiguousarray(scores).reshape(-1), (h * w, 2 * w, w, 2, 1)


def is_by_pixel(scores: Float32Array) -> bool:
    """Whether the scores (K, h, w) of each pixel lie side by side, pixel by pixel without gaps."""
    return scores.transpose(1, 2, 0).flags.c_contiguous


@np.errstate(invalid='ignore', over='ignore')
def _without_kernels(
    scores: Float32Array, size: tuple[int, int], threshold: float, temperature: float, needed: bool
) -> tuple[UInt8Array, UInt8Array | None]:
    """Labels, and confidence if needed, plane by plane."""
    planes = [
        plane if plane.shape == size else cv2.resize(np.ascontiguousarray(plane), size[::-1])
        for plane in scores
    ]
    best, labels = planes[0].copy(), np.zeros(size, np.uint8)
    taint = best - best
    for k, plane in enumerate(planes[1:], 1):
        is_above = plane > best
        labels[is_above] = k
        np.maximum(best, plane, out=best)
        taint += plane - plane
    is_unlabelled = taint != 0  # infinite or NaN
    if not needed:
        labels[is_unlabelled] = UNLABELLED
        return labels, None
    total = np.zeros(size, np.float32)
    for plane in planes:
        total += np.exp((plane - best) / np.float32(temperature))
    probability = np.where(is_unlabelled, np.float32(0), 1 / total)
    labels[is_unlabelled | (probability < np.float32(threshold))] = UNLABELLED
    return labels, np.rint(255 * probability).astype(np.uint8)
