"""Compiled loops from scores to labels and confidence; importing this module needs Numba.

The rules are those of ``seg_ros.inference.score_rows``.
"""

from typing import Any

import numpy as np

from seg_ros._numba import compiled
from seg_ros.arrays import UNLABELLED, Float32Array, Int32Array, UInt8Array, UInt32Array
from seg_ros.inference.score_rows import Strides, blend, read_row, widen_around

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_SIXTH, _TWENTY_FOURTH = np.float32(1 / 6), np.float32(1 / 24)
_FLOOR, _STEP = np.float32(-20), np.float32(1 / 32)
_WHITE = np.float32(255)
_NO_CLASS = np.int32(UNLABELLED)


@compiled
def exp(x: np.float32) -> np.float32:
    """Exponential of x <= 0, absolute error below 1e-6: Taylor polynomial at x / 32, to the 32nd power."""
    y = max(x, _FLOOR) * _STEP
    p = _ONE + y * (_ONE + y * (_HALF + y * (_SIXTH + y * _TWENTY_FOURTH)))
    p *= p
    p *= p
    p *= p
    p *= p
    return p * p


@compiled
def _choose(values: Float32Array, best: Float32Array, winner: Int32Array, taint: Float32Array) -> None:
    """Largest of the (K, width) values, its first class, and NaN where a value is not finite."""
    for x in range(best.size):
        best[x], winner[x], taint[x] = values[0, x], 0, values[0, x] - values[0, x]
    for k in range(1, values.shape[0]):
        row, this = values[k], np.int32(k)
        for x in range(best.size):
            value, so_far = row[x], best[x]
            above = value > so_far
            best[x] = value if above else so_far
            winner[x] = this if above else winner[x]
            taint[x] += value - value


@compiled
def _largest_probability(
    values: Float32Array, best: Float32Array, factor: np.float32, probability: Float32Array
) -> None:
    """Softmax of the largest of the (K, width) values, all of them times ``factor``."""
    for x in range(best.size):
        probability[x] = _ZERO
    for k in range(values.shape[0]):
        row = values[k]
        for x in range(best.size):
            probability[x] += exp(factor * (row[x] - best[x]))
    for x in range(best.size):
        probability[x] = _ONE / probability[x]


@compiled
def _drop_uncertain(
    probability: Float32Array,
    taint: Float32Array,
    threshold: np.float32,
    winner: Int32Array,
    confidence: UInt8Array,
) -> None:
    """Write the confidence of a row; tainted pixels and those below the threshold lose their class."""
    for x in range(winner.size):
        certain = probability[x] if taint[x] == _ZERO else _ZERO
        kept = taint[x] == _ZERO and certain >= threshold
        winner[x] = winner[x] if kept else _NO_CLASS
        confidence[x] = np.int32(certain * _WHITE + _HALF)


@compiled
def argmax_rows(
    scores: Float32Array,
    strides: Strides,
    shape: tuple[int, int, int],
    rows: tuple[UInt32Array, Float32Array],
    columns: tuple[UInt32Array, Float32Array],
    certainty: tuple[np.float32, np.float32],
    start: int,
    stop: int,
    labels: UInt8Array,
    confidence: UInt8Array,
) -> None:
    """Label rows ``start`` to ``stop`` of an image; see ``seg_ros.inference.argmax``.

    Args:
        scores: (K * h * w,) float32 in any order.
        strides: Steps from one element to the next, see ``Strides``.
        shape: K, h, w.
        rows: (H,) index of the score row above each row of the image, and weight of the next score row.
        columns: (W,) the same along x.
        certainty: Largest probability below which a pixel becomes unlabelled, which needs ``confidence``, and
            factor of the scores in that probability.
        start, stop: First row of the image, and the row after the last one.
        labels: (H, W) uint8, written.
        confidence: (H, W) uint8, written; (0, 0) = not computed.
    """
    threshold, factor = certainty
    n_classes, h, w = shape
    above, weight_below = rows
    left, weight_right = columns
    width = labels.shape[1]
    resized = labels.shape != shape[1:]
    padded = np.empty(w + 1, np.float32)
    upper = np.empty((n_classes, width), np.float32)
    lower, values = np.empty_like(upper), np.empty_like(upper)
    best = np.empty(width, np.float32)
    taint, probability = np.empty_like(best), np.empty_like(best)
    winner = np.empty(width, np.int32)
    have: Any = (np.int64(-1), np.int64(-1))
    for y in range(start, stop):
        if resized:
            first: Any = np.int64(above[y])
            needed = (first, min(first + 1, h - 1))
            upper, lower = widen_around(
                scores, strides, needed, left, weight_right, padded, (upper, lower), have
            )
            have = needed
            blend(upper, lower, weight_below[y], values)
        else:
            for k in range(n_classes):
                read_row(scores, strides, k, y, values[k])
        _choose(values, best, winner, taint)
        if confidence.size:
            _largest_probability(values, best, factor, probability)
            _drop_uncertain(probability, taint, threshold, winner, confidence[y])
        else:
            for x in range(width):
                winner[x] = winner[x] if taint[x] == _ZERO else _NO_CLASS
        for x in range(width):
            labels[y, x] = winner[x]
