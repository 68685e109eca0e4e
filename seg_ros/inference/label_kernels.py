"""Compiled loops from scores to labels without confidence; importing this module needs Numba.

The rules are those of ``seg_ros.inference.score_rows``.
"""

from typing import Any

import numpy as np

from seg_ros._numba import compiled
from seg_ros.arrays import UNLABELLED, Float32Array, UInt8Array, UInt32Array
from seg_ros.inference.score_rows import Strides, are_in_blocks, read_row, row_start

_ZERO, _NEXT = np.float32(0), np.uint32(1)
_NO_CLASS = np.int32(UNLABELLED)

_DISAGREED = np.uint8(UNLABELLED - 1)
"""Marks pixels between different classes; class 254, if there are so many, is found by interpolation."""

_FOUR = np.dtype(np.complex128)
"""Four scores that are moved at once; nothing is computed with this type."""


@compiled
def _read_winners(
    scores: Float32Array,
    strides: Strides,
    y: int,
    scratch: tuple[Float32Array, Float32Array, Float32Array, UInt8Array],
    pair: UInt8Array,
    in_pair: int,
    winners: UInt8Array,
) -> int:
    """Class of the largest score of each pixel of row ``y``, 255 where a score is not finite.

    Args:
        scores, strides: As for :func:`argmax_rows`.
        y: The row.
        scratch: (K, 2 * w) float32, twice (2 * w,) float32, and (2 * w,) uint8.
        pair: (2, w) uint8, classes of the last two rows that were found together, perhaps written.
        in_pair: Half the index of the first of these rows; -1 = none.
        winners: (w,) uint8, written.

    Returns:
        ``in_pair`` of the rows that are in ``pair`` now.
    """
    values, best, taint, both = scratch
    n_classes, width = values.shape[0], winners.size
    if are_in_blocks(strides):
        if in_pair != y >> 1:
            _winners_of_blocks(scores, row_start(strides, 0, y & ~1), values, best, taint, both, pair)
        for x in range(width):
            winners[x] = pair[y & 1, x]
        return y >> 1
    if strides[0] == 1:
        _winners_by_pixel(scores, row_start(strides, 0, y), strides[3], n_classes, winners)
        return in_pair
    if strides[4] == 1 and strides[3] == 2:
        planes = scores.reshape((n_classes, scores.size // n_classes))
        _choose(planes, row_start(strides, 0, y), best, taint, winners)
        return in_pair
    for k in range(n_classes):
        read_row(scores, strides, k, y, values[k, :width])
    _choose(values, 0, best, taint, winners)
    return in_pair


@compiled
def _winners_of_blocks(
    scores: Float32Array,
    start: int,
    values: Float32Array,
    best: Float32Array,
    taint: Float32Array,
    winners: UInt8Array,
    pair: UInt8Array,
) -> None:
    """The same for two rows, of blocks of 2x2 pixels whose scores for a class lie side by side.

    These four scores are moved at once, so that all of a class can be compared as vectors.

    Args:
        scores: As for :func:`argmax_rows`.
        start: Place of the first score.
        values: (K, 2 * w) float32, scratch.
        best, taint, winners: (2 * w,), scratch.
        pair: (2, w) uint8, written.
    """
    n_classes, n_values = values.shape
    blocks, planes = scores[start : start + values.size].view(_FOUR), values.view(_FOUR)
    at = np.uint32(0)
    for x in range(np.uint32(n_values // 4)):
        for k in range(np.uint32(n_classes)):
            planes[k, x] = blocks[at]
            at += _NEXT
    _choose(values, 0, best, taint, winners)
    upper, lower, halves = pair[0].view(np.uint16), pair[1].view(np.uint16), winners.view(np.uint16)
    for x in range(np.uint32(upper.size)):
        upper[x], lower[x] = halves[x + x], halves[x + x + _NEXT]


@compiled
def _choose(
    values: Float32Array, begin: int, best: Float32Array, taint: Float32Array, winners: UInt8Array
) -> None:
    """Class of the largest of the (K, ...) values from column ``begin`` on, 255 where one is not finite.

    Two classes are compared in a pass, since the passes spend their time on reading and writing memory.
    """
    last, end = values.shape[0] - 1, begin + winners.size
    row = values[0, begin:end]
    for x in range(winners.size):
        best[x], winners[x], taint[x] = row[x], 0, row[x] * _ZERO
    for k in range(1, last + 1, 2):
        this, next_ = np.uint8(k), np.uint8(k + 1)
        row, other = values[k, begin:end], values[min(k + 1, last), begin:end]  # the last one perhaps twice
        for x in range(winners.size):
            value, second, largest = row[x], other[x], best[x]
            above = value > largest
            largest = value if above else largest
            winner = this if above else winners[x]
            above = second > largest
            best[x] = second if above else largest
            winners[x] = next_ if above else winner
            taint[x] += value * _ZERO + second * _ZERO
    for x in range(winners.size):
        winners[x] = winners[x] if taint[x] == _ZERO else np.uint8(_NO_CLASS)


@compiled
def _winners_by_pixel(
    scores: Float32Array, start: int, pair: int, n_classes: int, winners: UInt8Array
) -> None:
    """The same where the scores of a pixel lie side by side, before those of the other pixel of its pair.

    Both pixels of a pair are compared in turns, since each comparison has to wait for the one before.
    """
    n, left, last = np.uint32(n_classes), np.uint32(start), np.uint32(winners.size - 1)
    for x in range(np.uint32(0), np.uint32(winners.size), np.uint32(2)):
        right = left + n if x < last else left
        best, other_best = scores[left], scores[right]
        taint, other_taint = best * _ZERO, other_best * _ZERO
        winner, other = np.uint32(0), np.uint32(0)
        k: Any
        for k in range(_NEXT, n):
            value, other_value = scores[left + k], scores[right + k]
            above, other_above = value > best, other_value > other_best
            best, winner = value if above else best, k if above else winner
            other_best, other = other_value if other_above else other_best, k if other_above else other
            taint += value * _ZERO
            other_taint += other_value * _ZERO
        winners[min(x + _NEXT, last)] = other if other_taint == _ZERO else np.uint32(_NO_CLASS)
        winners[x] = winner if taint == _ZERO else np.uint32(_NO_CLASS)
        left += np.uint32(pair)


@compiled
def _find_borders(
    upper: UInt8Array,
    lower: UInt8Array,
    strides: Strides,
    left: UInt32Array,
    weight: Float32Array,
    agreed: UInt8Array,
    columns: UInt32Array,
    places: UInt32Array,
    others: UInt32Array,
    weights: Float32Array,
) -> int:
    """Find the columns of an image that lie between pixels of different classes.

    Args:
        upper, lower: (w,) uint8, classes of two rows of pixels.
        strides: Steps from one score to the next.
        left: (W,) column of the pixel to the left of each column of the image, rising.
        weight: (W,) weight of the pixel to its right.
        agreed: (w,) uint8, written: class of a pixel, the one to its right and both below; 254 = they differ.
        columns: (W + 1,) written: the columns found.
        places: (W + 1,) written: places of the scores of the pixel to their left.
        others: (W + 1,) written: places of the scores of the pixel to their right.
        weights: (W + 1,) written: their ``weight``.

    Returns:
        Number of columns found.
    """
    w, pair, step = upper.size, strides[3], strides[4]
    for x in range(w - 1):
        same = upper[x] == lower[x] and upper[x] == upper[x + 1] and upper[x] == lower[x + 1]
        agreed[x] = upper[x] if same else _DISAGREED
    agreed[w - 1] = upper[w - 1] if upper[w - 1] == lower[w - 1] else _DISAGREED
    n: Any = 0
    for column in range(left.size):
        columns[n] = column
        n += agreed[left[column]] == _DISAGREED
    for i in range(n):
        one: Any = np.int64(left[columns[i]])
        other: Any = min(one + 1, w - 1)
        places[i], others[i] = (one >> 1) * pair + (one & 1) * step, (other >> 1) * pair + (other & 1) * step
        weights[i] = weight[columns[i]]
    return int(n)


@compiled
def _interpolate_borders(
    scores: Float32Array,
    strides: Strides,
    n_classes: int,
    rows: tuple[int, int],
    weight_below: np.float32,
    found: tuple[int, UInt32Array, UInt32Array, UInt32Array, Float32Array],
    labels: UInt8Array,
) -> None:
    """Label some columns of a row of an image by the interpolated scores of all classes.

    Args:
        scores, strides: As for :func:`argmax_rows`.
        n_classes: Number of classes, K.
        rows: Rows of pixels above and below.
        weight_below: Weight of the row below.
        found: Number of columns, and the columns with places and weights, see :func:`_find_borders`.
        labels: (W,) uint8, written at these columns.
    """
    n, columns, places, others, weights = found
    begin, under = np.uint32(row_start(strides, 0, rows[0])), np.uint32(row_start(strides, 0, rows[1]))
    step = np.uint32(strides[0])
    for i in range(n):
        weight, largest, spoilt, winner = weights[i], _ZERO, _ZERO, np.uint32(0)
        upper, lower, to_right = begin + places[i], under + places[i], np.uint32(others[i] - places[i])
        k: Any
        for k in range(np.uint32(n_classes)):
            above = scores[upper] + weight * (scores[upper + to_right] - scores[upper])
            below = scores[lower] + weight * (scores[lower + to_right] - scores[lower])
            value = above + weight_below * (below - above)
            is_above = k == 0 or value > largest
            largest = value if is_above else largest
            winner = k if is_above else winner
            spoilt += value - value
            upper += step
            lower += step
        labels[columns[i]] = winner if spoilt == _ZERO else np.uint32(_NO_CLASS)


@compiled
def label_rows(
    scores: Float32Array,
    strides: Strides,
    shape: tuple[int, int, int],
    rows: tuple[UInt32Array, Float32Array],
    columns: tuple[UInt32Array, Float32Array],
    start: int,
    stop: int,
    labels: UInt8Array,
) -> None:
    """Label rows ``start`` to ``stop`` of an image without confidence; arguments as for ``argmax_rows``.

    A class that has the largest score at four pixels has it between them too: interpolation is a mean with
    weights of 0 or more. So only pixels between different classes are interpolated.
    """
    n_classes, h, w = shape
    above, weight_below = rows
    left, weight_right = columns
    width = labels.shape[1]
    best, values = np.empty(2 * w, np.float32), np.empty((n_classes, 2 * w), np.float32)
    scratch = values, best, np.empty_like(best), np.empty(2 * w, np.uint8)
    pair = np.empty((2, w), np.uint8)
    in_pair: Any = np.int64(-1)
    if labels.shape == shape[1:]:
        for y in range(start, stop):
            in_pair = _read_winners(scores, strides, y, scratch, pair, in_pair, labels[y])
        return
    upper, lower, agreed = np.empty(w, np.uint8), np.empty(w, np.uint8), np.empty(w, np.uint8)
    columns_found = np.empty(width + 1, np.uint32)
    places, others = np.empty_like(columns_found), np.empty_like(columns_found)
    weights = np.empty(width + 1, np.float32)
    in_upper, in_lower, n_found = np.int64(-1), np.int64(-1), 0
    for y in range(start, stop):
        first: Any = np.int64(above[y])
        second: Any = min(first + 1, h - 1)
        if first != in_upper or second != in_lower:
            if first == in_lower:
                upper, lower = lower, upper
            elif first != in_upper:
                in_pair = _read_winners(scores, strides, first, scratch, pair, in_pair, upper)
            in_pair = _read_winners(scores, strides, second, scratch, pair, in_pair, lower)
            in_upper, in_lower = first, second
            n_found = _find_borders(
                upper, lower, strides, left, weight_right, agreed, columns_found, places, others, weights
            )
        row = labels[y]
        for x in range(row.size):
            row[x] = agreed[left[x]]
        found = n_found, columns_found, places, others, weights
        _interpolate_borders(scores, strides, n_classes, (first, second), weight_below[y], found, row)
