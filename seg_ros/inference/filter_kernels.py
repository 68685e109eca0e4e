"""Compiled loops of the embedding filter; importing this module needs Numba."""

from typing import Any

import numpy as np

from seg_ros._numba import compiled
from seg_ros.arrays import Float32Array, UInt32Array
from seg_ros.inference.argmax_kernels import exp
from seg_ros.inference.score_rows import Strides, blend, read_row, widen_around

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def _fill_masks(embeddings: Float32Array, y: int, hardness: np.float32, masks: Float32Array) -> None:
    """Masks between the pixels of row ``y`` and the lower halves of their windows.

    Args:
        embeddings: (D, h, w + 2 * radius), infinite in the margins, where the mask thus becomes 0.
        y: Row of the map.
        hardness: Hardness, above 0.
        masks: (radius + 1, 2 * radius + 1, w + 2 * radius), written except for its margins. Entry (r, c, x)
            is the mask between pixel x and the pixel r rows below and c - radius columns to the right, 1 for
            the pixel itself.
    """
    n_numbers, height, _ = embeddings.shape
    radius = masks.shape[0] - 1
    width = masks.shape[2] - 2 * radius
    here = np.empty((n_numbers, width), np.float32)
    for d in range(n_numbers):
        for x in range(width):
            here[d, x] = embeddings[d, y, radius + x]
    for x in range(width):
        masks[0, radius, radius + x] = _ONE
    for down in range(min(radius + 1, height - y)):
        for j in range(radius + 1 if down == 0 else 0, 2 * radius + 1):
            mask = masks[down, j, radius : radius + width]
            for x in range(width):
                mask[x] = _ZERO
            for d in range(0, n_numbers - 1, 2):
                a, c = here[d], here[d + 1]
                b, e = embeddings[d, y + down, j : j + width], embeddings[d + 1, y + down, j : j + width]
                for x in range(width):
                    mask[x] -= abs(a[x] - b[x]) + abs(c[x] - e[x])
            if n_numbers % 2:
                last = n_numbers - 1
                a, b = here[last], embeddings[last, y + down, j : j + width]
                for x in range(width):
                    mask[x] -= abs(a[x] - b[x])
            for x in range(width):
                mask[x] = exp(hardness * mask[x])


@compiled
def _masks_of(masks: Float32Array, up: int, j: int, width: int) -> Float32Array:
    """(w,) masks between the pixels of a row and those ``up`` rows above and ``j`` - radius columns right.

    The mask between two pixels is symmetric, so those of the upper row or half serve both ways.
    """
    radius = masks.shape[0] - 1
    if up < 0 or (up == 0 and j >= radius):
        return masks[-up, j, radius : radius + width]
    return masks[up, 2 * radius - j, j : j + width]


@compiled
def _add_window_row(rows: Float32Array, masks: Float32Array, up: int, sums: Float32Array) -> None:
    """Add the contribution of one row of the pixels' windows.

    Three columns are added at once: reading and writing the sums takes longer than the products.

    Args:
        rows: (K, w + 2 * radius), values of that row, 0 in the margins.
        masks: Masks as written by :func:`_fill_masks`, of that row or of the pixels' row, whichever is
            higher.
        up: Number of rows that it lies above the pixels.
        sums: (K, w), added to.
    """
    window, width = masks.shape[1], sums.shape[1]
    for j in range(0, window - 2, 3):
        a, b, c = (
            _masks_of(masks, up, j, width),
            _masks_of(masks, up, j + 1, width),
            _masks_of(masks, up, j + 2, width),
        )
        for k in range(sums.shape[0]):
            total, first = sums[k], rows[k, j : j + width]
            second, third = rows[k, j + 1 : j + 1 + width], rows[k, j + 2 : j + 2 + width]
            for x in range(width):
                total[x] += a[x] * first[x] + b[x] * second[x] + c[x] * third[x]
    for j in range(window - window % 3, window):
        a = _masks_of(masks, up, j, width)
        for k in range(sums.shape[0]):
            total, first = sums[k], rows[k, j : j + width]
            for x in range(width):
                total[x] += a[x] * first[x]


@compiled
def _average_row(
    y: int, height: int, source: Float32Array, masks: Float32Array, scale: Float32Array, sums: Float32Array
) -> None:
    """Average one row in one iteration.

    Args:
        y: Row of the map.
        height: Number of rows of the map.
        source: (n, K, w + 2 * radius), row v of the values at v modulo n, 0 in the margins.
        masks: (m, radius + 1, 2 * radius + 1, w + 2 * radius), masks of row v at v modulo m.
        scale: (w,), 1 / sum of the masks; 0 = not known yet, then it is written.
        sums: (K, w), written with the averages.
    """
    radius, width = masks.shape[1] - 1, sums.shape[1]
    is_new = scale[0] == _ZERO
    total = np.zeros((1, width), np.float32)
    ones = np.zeros((1, source.shape[2]), np.float32)
    for x in range(width):
        ones[0, radius + x] = _ONE
    for k in range(sums.shape[0]):
        for x in range(width):
            sums[k, x] = _ZERO
    for v in range(max(y - radius, 0), min(y + radius + 1, height)):
        of_pairs = masks[min(v, y) % masks.shape[0]]
        _add_window_row(source[v % source.shape[0]], of_pairs, y - v, sums)
        if is_new:
            _add_window_row(ones, of_pairs, y - v, total)
    if is_new:
        for x in range(width):
            scale[x] = _ONE / total[0, x]
    for k in range(sums.shape[0]):
        of_class = sums[k]
        for x in range(width):
            of_class[x] *= scale[x]


@compiled
def average_rows(
    values: Float32Array,
    embeddings: Float32Array,
    hardness: np.float32,
    radius: int,
    n_iterations: int,
    start: int,
    stop: int,
    averaged: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` after some iterations; see ``masked_average.masked_average``.

    All iterations go down the map together, each ``radius`` rows behind the previous one. A mask is computed
    once for each pair of pixels and used from both ends and by every iteration. Masks and intermediate
    values are therefore kept only for the rows between the first and the last iteration.

    Args:
        values: (h, K, w + 2 * radius), 0 in the margins.
        embeddings: (D, h, w + 2 * radius), infinite in the margins.
        hardness: Hardness, above 0.
        radius: Radius of the window, which spans 2 * radius + 1 pixels each way.
        n_iterations: Number of iterations, 1 or more.
        start, stop: First row of the map, and the row after the last one.
        averaged: (K, h, w), written.
    """
    height, n_values, wide = values.shape
    width, window = wide - 2 * radius, 2 * radius + 1
    n_kept = radius * n_iterations + 1
    masks = np.zeros((n_kept, radius + 1, window, wide), np.float32)
    scales = np.zeros((n_kept, width), np.float32)
    between = np.zeros((n_iterations, window, n_values, wide), np.float32)
    sums = np.empty((n_values, width), np.float32)
    reach = radius * (n_iterations - 1)
    first, last = max(start - reach - radius, 0), min(stop + reach, height)
    for t in range(first, stop + reach):
        if t < last:
            _fill_masks(embeddings, t, hardness, masks[t % n_kept])
        for i in range(n_iterations):
            y, ahead = t - radius * i, radius * (n_iterations - 1 - i)
            if not max(start - ahead, 0) <= y < min(stop + ahead, height):
                continue
            scale = scales[y % n_kept]
            if i == 0:
                scale[0] = _ZERO
                _average_row(y, height, values, masks, scale, sums)
            else:
                _average_row(y, height, between[i - 1], masks, scale, sums)
            for k in range(n_values):
                is_last, row = i == n_iterations - 1, sums[k]
                out = averaged[k, y] if is_last else between[i, y % window, k, radius : radius + width]
                for x in range(width):
                    out[x] = row[x]


@compiled
def mean_rows(
    scores: Float32Array,
    strides: Strides,
    shape: tuple[int, int, int],
    start: int,
    stop: int,
    means: Float32Array,
) -> None:
    """Rows ``start`` to ``stop`` of the means of scores over cells.

    Args:
        scores: (K * H * W,) float32 in any order.
        strides: Steps from one element to the next, see ``Strides``.
        shape: K, H, W; H and W are multiples of h and w.
        start, stop: First row of the means, and the row after the last one.
        means: (K, h, w), written.
    """
    n_values, height, width = means.shape
    tall, wide = shape[1] // height, shape[2] // width
    scale = _ONE / np.float32(tall * wide)
    row = np.empty(shape[2], np.float32)
    sums = np.empty(shape[2], np.float32)
    for y in range(start, stop):
        for k in range(n_values):
            for x in range(row.size):
                sums[x] = _ZERO
            for v in range(y * tall, (y + 1) * tall):
                read_row(scores, strides, k, v, row)
                for x in range(row.size):
                    sums[x] += row[x]
            out = means[k, y]
            for x in range(width):
                out[x] = _ZERO
            for right in range(wide):
                for x in range(width):
                    out[x] += sums[x * wide + right]
            for x in range(width):
                out[x] *= scale


@compiled
def mean_pixels(scores: Float32Array, start: int, stop: int, means: Float32Array) -> None:
    """The same as :func:`mean_rows`, for scores (H, W * K) with those of each pixel contiguous."""
    n_values, height, width = means.shape
    tall, wide = scores.shape[0] // height, scores.shape[1] // (width * n_values)
    scale = _ONE / np.float32(tall * wide)
    sums = np.empty(scores.shape[1], np.float32)
    cell = np.empty(n_values, np.float32)
    for y in range(start, stop):
        for i in range(sums.size):
            sums[i] = scores[y * tall, i]
        for v in range(y * tall + 1, (y + 1) * tall):
            row = scores[v]
            for i in range(sums.size):
                sums[i] += row[i]
        for x in range(width):
            for k in range(n_values):
                cell[k] = _ZERO
            for pixel in range(x * wide, (x + 1) * wide):
                for k in range(n_values):
                    cell[k] += sums[pixel * n_values + k]
            for k in range(n_values):
                means[k, y, x] = cell[k] * scale


@compiled
def add_rows(
    scores: Float32Array,
    strides: Strides,
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
        strides: Steps from one element to the next, see ``Strides``.
        change: (K, h, w).
        rows: (H,) index of the row of the change above each row of the scores, and weight of the next row.
        columns: (W,) the same along x.
        start, stop: First row of the scores, and the row after the last one.
        changed: (K, H, W), written.
    """
    above, weight_below = rows
    left, weight_right = columns
    n_values, h, w = change.shape
    flat, apart = change.ravel(), (h * w, 2 * w, w, 2, 1)
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
            read_row(scores, strides, k, y, row)
            out, more = changed[k, y], added[k]
            for x in range(row.size):
                out[x] = row[x] + more[x]


@compiled
def _widen_pixels(
    line: Float32Array, left: UInt32Array, weight_right: Float32Array, wide: Float32Array
) -> None:
    """Fill (W, K) ``wide`` with a (w, K) line, interpolated."""
    last = line.shape[0] - 1
    for x in range(wide.shape[0]):
        first = np.int64(left[x])
        a, b, out, weight = line[first], line[min(first + 1, last)], wide[x], weight_right[x]
        for k in range(out.size):
            out[k] = a[k] + weight * (b[k] - a[k])


@compiled
def add_pixels(
    scores: Float32Array,
    change: Float32Array,
    rows: tuple[UInt32Array, Float32Array],
    columns: tuple[UInt32Array, Float32Array],
    start: int,
    stop: int,
    changed: Float32Array,
) -> None:
    """The same as :func:`add_rows`, for scores (H, W * K) and a change (h, w, K), contiguous per pixel."""
    above, weight_below = rows
    left, weight_right = columns
    last = change.shape[0] - 1
    upper = np.empty((left.size, change.shape[2]), np.float32)
    lower = np.empty_like(upper)
    in_upper, in_lower = np.int64(-1), np.int64(-1)
    for y in range(start, stop):
        first = np.int64(above[y])
        second = min(first + 1, last)
        if first == in_lower:
            upper, lower, in_upper, in_lower = lower, upper, in_lower, in_upper
        if first != in_upper:
            _widen_pixels(change[first], left, weight_right, upper)
        if second != in_lower:
            _widen_pixels(change[second], left, weight_right, lower)
        in_upper, in_lower = first, second
        a, b, weight = upper.ravel(), lower.ravel(), weight_below[y]
        row, out = scores[y], changed[y]
        for i in range(out.size):
            out[i] = row[i] + (a[i] + weight * (b[i] - a[i]))
