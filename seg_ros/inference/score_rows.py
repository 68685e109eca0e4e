"""Compiled loops that read and interpolate rows of scores; importing this module needs Numba.

Every kernel works on a range of rows and releases the GIL, so that callers can split an image over their own
threads. Loops are written for SIMD: the innermost loop runs along contiguous rows, arithmetic stays float32,
and indices are unsigned, which avoids the check for negative ones. No array is assigned as a whole: it would
take Numba seconds to compile the comparison of two shapes.
"""

from typing import TypeAlias

import numpy as np

from seg_ros._numba import compiled
from seg_ros.arrays import Float32Array, UInt32Array

_NEXT = np.uint32(1)

Strides: TypeAlias = tuple[int, int, int, int, int]
"""Numbers of elements from a score to others: of the next class, of the next row of blocks of 2x2 pixels, of
the next row within a block, and the same for columns."""


@compiled
def are_in_blocks(strides: Strides) -> bool:
    """Whether the four scores of a class in a block of 2x2 pixels lie side by side."""
    return strides[0] == 4 and strides[2] == 2 and strides[4] == 1


@compiled
def row_start(strides: Strides, k: int, y: int) -> int:
    """Place of the first score of a class in a row."""
    return k * strides[0] + (y >> 1) * strides[1] + (y & 1) * strides[2]


@compiled
def read_row(scores: Float32Array, strides: Strides, k: int, y: int, row: Float32Array) -> None:
    """Fill ``row`` with the scores of a class in a row."""
    start, pair, step = row_start(strides, k, y), strides[3], strides[4]
    if step == 1 and pair == 2:
        for x in range(row.size):
            row[x] = scores[start + x]
    else:
        for x in range(row.size // 2):
            row[2 * x] = scores[start + x * pair]
            row[2 * x + 1] = scores[start + x * pair + step]
        if row.size % 2:
            row[row.size - 1] = scores[start + row.size // 2 * pair]


@compiled
def widen(
    scores: Float32Array,
    strides: Strides,
    y: int,
    left: UInt32Array,
    weight: Float32Array,
    padded: Float32Array,
    rows: Float32Array,
) -> None:
    """Fill ``rows`` (K, width) with row ``y`` of scores, interpolated along x; ``padded`` is scratch."""
    row = padded[:-1]
    for k in range(rows.shape[0]):
        read_row(scores, strides, k, y, row)
        padded[row.size] = row[row.size - 1]
        out = rows[k]
        for x in range(out.size):
            first = padded[left[x]]
            out[x] = first + weight[x] * (padded[left[x] + _NEXT] - first)


@compiled
def blend(upper: Float32Array, lower: Float32Array, weight: np.float32, values: Float32Array) -> None:
    """Fill ``values`` (K, width) by interpolating between the rows ``upper`` and ``lower``."""
    for k in range(values.shape[0]):
        a, b, out = upper[k], lower[k], values[k]
        for x in range(out.size):
            out[x] = a[x] + weight * (b[x] - a[x])


@compiled
def widen_around(
    scores: Float32Array,
    strides: Strides,
    above: tuple[int, int],
    left: UInt32Array,
    weight: Float32Array,
    padded: Float32Array,
    widened: tuple[Float32Array, Float32Array],
    have: tuple[int, int],
) -> tuple[Float32Array, Float32Array]:
    """Two rows of scores, interpolated along x; rows already present are reused.

    Args:
        scores, strides, left, weight, padded: As for :func:`widen`.
        above: Indices of the two rows.
        widened: Two arrays (K, width), written where needed.
        have: Indices of the rows that ``widened`` holds, -1 for none.

    Returns:
        ``widened``, perhaps in the other order.
    """
    upper, lower = widened
    in_upper, in_lower = have
    if above[0] == in_lower:
        upper, lower, in_upper, in_lower = lower, upper, in_lower, in_upper
    if above[0] != in_upper:
        widen(scores, strides, above[0], left, weight, padded, upper)
    if above[1] != in_lower:
        widen(scores, strides, above[1], left, weight, padded, lower)
    return upper, lower
