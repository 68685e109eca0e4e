"""The compiled loops of the embedding filter; importing this needs Numba."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.compiling import compiled
from seg_ros.kernels import blend, exp, read_row, widen_around

Float32Array = npt.NDArray[np.float32]
UInt32Array = npt.NDArray[np.uint32]

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def _fill_mask(
    here: Float32Array,
    embeddings: Float32Array,
    v: int,
    right: int,
    hardness: np.float32,
    mask: Float32Array,
) -> None:
    """Mask (w,) of a row's embeddings (D, w) and those of row ``v`` some pixels further to the right."""
    n_numbers, width = here.shape
    mask[:] = _ZERO
    for d in range(n_numbers):
        a, b = here[d], embeddings[d, v, right : right + width]
        for x in range(width):
            mask[x] -= abs(a[x] - b[x])
    for x in range(width):
        mask[x] = exp(hardness * mask[x])


@compiled
def _add_masked(masks: Float32Array, row: Float32Array, sums: Float32Array) -> None:
    """Add (n + w - 1,) ``row``, moved by 0 to n - 1 pixels and times the (n, w) masks, to ``sums`` (w,)."""
    n_columns, width = masks.shape
    for right in range(n_columns):
        mask, beside = masks[right], row[right : right + width]
        for x in range(width):
            sums[x] += mask[x] * beside[x]


@compiled
def average_rows(
    values: Float32Array,
    embeddings: Float32Array,
    hardness: np.float32,
    radius: int,
    start: int,
    stop: int,
    averaged: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` of one iteration; see ``seg_ros.models.masked_average.masked_average``.

    The masks of a row against a row of its windows are computed and used at once: they are all that is kept
    of the window.

    Args:
        values: (K, h, w + 2 * radius), 0 in the margins.
        embeddings: (D, h, w + 2 * radius), infinite in the margins, which makes their mask vanish.
        hardness: above 0.
        radius: of the window, which spans 2 * radius + 1 pixels each way.
        start, stop: rows of the map.
        averaged: like ``values``, written but for the margins.
    """
    n_values, height, width = values.shape
    inside = width - 2 * radius
    masks = np.empty((2 * radius + 1, inside), np.float32)
    here = np.empty((embeddings.shape[0], inside), np.float32)
    sums = np.empty((n_values, inside), np.float32)
    total = np.empty(inside, np.float32)
    for y in range(start, stop):
        here[:] = embeddings[:, y, radius : radius + inside]
        sums[:] = _ZERO
        total[:] = _ZERO
        for v in range(max(y - radius, 0), min(y + radius + 1, height)):
            for right in range(masks.shape[0]):
                mask = masks[right]
                _fill_mask(here, embeddings, v, right, hardness, mask)
                for x in range(inside):
                    total[x] += mask[x]
            for k in range(n_values):
                _add_masked(masks, values[k, v], sums[k])
        for k in range(n_values):
            out, of_class = averaged[k, y, radius : radius + inside], sums[k]
            for x in range(inside):
                out[x] = of_class[x] / total[x]


@compiled
def mean_rows(
    scores: Float32Array,
    strides: tuple[int, int, int],
    shape: tuple[int, int, int],
    start: int,
    stop: int,
    means: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` of the means of scores over cells.

    Args:
        scores: (K * H * W,) float32 in any order.
        strides: elements from one class, row and column to the next.
        shape: K, H, W; H and W are multiples of h and w.
        start, stop: rows of the means.
        means: (K, h, w), written.
    """
    n_values, height, width = means.shape
    tall, wide = shape[1] // height, shape[2] // width
    share = _ONE / np.float32(tall * wide)
    row = np.empty(shape[2], np.float32)
    sums = np.empty(shape[2], np.float32)
    for y in range(start, stop):
        for k in range(n_values):
            sums[:] = _ZERO
            for v in range(y * tall, (y + 1) * tall):
                read_row(scores, k * strides[0] + v * strides[1], strides[2], row)
                for x in range(row.size):
                    sums[x] += row[x]
            out = means[k, y]
            out[:] = _ZERO
            for right in range(wide):
                for x in range(width):
                    out[x] += sums[x * wide + right]
            for x in range(width):
                out[x] *= share


@compiled
def add_rows(
    scores: Float32Array,
    strides: tuple[int, int, int],
    change: Float32Array,
    rows: tuple[UInt32Array, Float32Array],
    columns: tuple[UInt32Array, Float32Array],
    start: int,
    stop: int,
    changed: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` of scores plus a smaller change, interpolated.

    Args:
        scores: (K * H * W,) float32 in any order.
        strides: elements from one class, row and column to the next.
        change: (K, h, w).
        rows: (H,) index of the row of the change above every row of the scores, and weight of the next one.
        columns: (W,) likewise along x.
        start, stop: rows of the scores.
        changed: (K, H, W), written.
    """
    above, weight_below = rows
    left, weight_right = columns
    n_values, h, w = change.shape
    flat, apart = change.ravel(), (h * w, w, 1)
    padded = np.empty(w + 1, np.float32)
    row = np.empty(changed.shape[2], np.float32)
    upper = np.empty((n_values, row.size), np.float32)
    lower, added = np.empty_like(upper), np.empty_like(upper)
    have: Any = (np.int64(-1), np.int64(-1))
    for y in range(start, stop):
        first: Any = np.int64(above[y])
        needed = (first, min(first + 1, h - 1))
        upper, lower = widen_around(flat, apart, needed, left, weight_right, padded, (upper, lower), have)
        have = needed
        blend(upper, lower, weight_below[y], added)
        for k in range(n_values):
            read_row(scores, k * strides[0] + y * strides[1], strides[2], row)
            out, more = changed[k, y], added[k]
            for x in range(row.size):
                out[x] = row[x] + more[x]
