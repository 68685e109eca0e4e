"""Compiled loops over pixels, superpixels and their borders; importing this needs Numba.

As in ``seg_ros.kernels``, what takes a range of rows may run in several threads at once, and inner loops run
along rows.
"""

import numpy as np
import numpy.typing as npt

from seg_ros.compiling import compiled
from seg_ros.regions.graph import number_trees, root_of

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
UInt8Array = npt.NDArray[np.uint8]

_FAR = np.float32(1e30)
_SCATTER = np.int64(0x9E3779B1)  # spreads what it multiplies over the bits above it
_NEXT = np.uint32(1)
_CENTRE, _SIXTY_FOURTH, _THIRTY_SECOND = np.float32(128), np.float32(1 / 64), np.float32(1 / 32)


@compiled
def assign(
    planes: Float32Array,
    centres: Float32Array,
    reach: int,
    weight: np.float32,
    start: int,
    stop: int,
    step: int,
    labels: Int32Array,
    sums: Float32Array,
) -> None:
    """Give each pixel of some rows to the nearest centre within reach, and sum up what each centre got.

    Args:
        planes: (3, H, W) float32 colour.
        centres: (S, 5) float32: colour, y, x.
        reach: half the side of the square around a centre in which it looks for pixels.
        weight: of a squared distance in pixels against one in colour.
        start, stop, step: the rows.
        labels: (H, W) int32, written.
        sums: (S, 6) float32, zero before: colour, y, x and number of its pixels.
    """
    _height, width = labels.shape
    n_centres = centres.shape[0]
    nearest = np.empty(width, np.float32)
    winner = np.empty(width, np.int32)
    columns = np.arange(width).astype(np.float32)
    for y in range(start, stop, step):
        lightness, a, b = planes[0, y], planes[1, y], planes[2, y]
        nearest[:] = _FAR
        winner[:] = labels[y]
        row = np.float32(y)
        for s in range(n_centres):
            down = row - centres[s, 3]
            if abs(down) > reach:
                continue
            centre_l, centre_a, centre_b, centre_x = (
                centres[s, 0],
                centres[s, 1],
                centres[s, 2],
                centres[s, 4],
            )
            above = weight * down * down
            left = np.uint32(max(int(centre_x) - reach, 0))
            right = np.uint32(min(int(centre_x) + reach + 1, width))
            this = np.int32(s)
            for x in range(left, right):
                dl, da, db = lightness[x] - centre_l, a[x] - centre_a, b[x] - centre_b
                dx = columns[x] - centre_x
                distance = dl * dl + da * da + db * db + weight * dx * dx + above
                closer = distance < nearest[x]
                nearest[x] = distance if closer else nearest[x]
                winner[x] = this if closer else winner[x]
        labels[y] = winner
        x = 0
        while x < width:
            s, first = winner[x], x
            sum_l, sum_a, sum_b = np.float32(0), np.float32(0), np.float32(0)
            while x < width and winner[x] == s:
                sum_l += lightness[x]
                sum_a += a[x]
                sum_b += b[x]
                x += 1
            n = np.float32(x - first)
            sums[s, 0] += sum_l
            sums[s, 1] += sum_a
            sums[s, 2] += sum_b
            sums[s, 3] += n * row
            sums[s, 4] += n * np.float32(first + x - 1) * np.float32(0.5)
            sums[s, 5] += n


@compiled
def connect(labels: Int32Array, ids: Int32Array) -> int:
    """Number the connected parts of equal labels.

    Args:
        labels: (H, W) int32.
        ids: (H, W) int32, written: 0 .. n - 1 in the order in which the parts are met.

    Returns:
        n.
    """
    height, width = labels.shape
    # Union-find over runs; the root of a part is the first of its runs.
    parent = np.empty(height * width, np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            joins_left = x > 0 and labels[y, x - 1] == label
            joins_above = y > 0 and labels[y - 1, x] == label
            if joins_left:
                here = ids[y, x - 1]
                if joins_above and ids[y - 1, x] != here and labels[y - 1, x - 1] != label:
                    one, other = root_of(parent, here), root_of(parent, ids[y - 1, x])
                    parent[max(one, other)] = min(one, other)
            elif joins_above:
                here = ids[y - 1, x]
            else:
                here = np.int32(n)
                parent[n] = n
                n += 1
            ids[y, x] = here
    of_run, n_parts = number_trees(parent[:n])
    for y in range(height):
        row = ids[y]
        for x in range(width):
            row[x] = of_run[row[x]]
    return n_parts


@compiled
def sum_planes(planes: Float32Array, ids: Int32Array, sums: Float32Array, sizes: Int32Array) -> None:
    """Sum planes (C, H, W) float32 over the pixels of a region into sums (n, C), pixels into sizes (n,)."""
    height, width = ids.shape
    for y in range(height):
        x = 0
        while x < width:
            region, first = ids[y, x], x
            while x < width and ids[y, x] == region:
                x += 1
            sizes[region] += x - first
            for c in range(planes.shape[0]):
                total = np.float32(0)
                for column in range(first, x):
                    total += planes[c, y, column]
                sums[region, c] += total


@compiled
def sum_moments(planes: Float32Array, ids: Int32Array, start: int, stop: int, sums: Float32Array) -> None:
    """Sum L, a, b, their squares, L a, L b, a b and 1 over the pixels of each region, of some rows.

    Args:
        planes: (3, H, W) float32 8-bit CIELAB; counted from 128, in units of 64, 32 and 32.
        ids: (H, W) int32 in 0 .. S - 1.
        start, stop: the rows.
        sums: (S, 10) float32, added to.
    """
    width = ids.shape[1]
    for y in range(start, stop):
        x = 0
        while x < width:
            region, first = ids[y, x], x
            while x < width and ids[y, x] == region:
                x += 1
            total = np.zeros(9, np.float32)
            for column in range(first, x):
                light = (planes[0, y, column] - _CENTRE) * _SIXTY_FOURTH
                a = (planes[1, y, column] - _CENTRE) * _THIRTY_SECOND
                b = (planes[2, y, column] - _CENTRE) * _THIRTY_SECOND
                total[0] += light
                total[1] += a
                total[2] += b
                total[3] += light * light
                total[4] += a * a
                total[5] += b * b
                total[6] += light * a
                total[7] += light * b
                total[8] += a * b
            sums[region, :9] += total
            sums[region, 9] += np.float32(x - first)


@compiled
def neighbours(ids: Int32Array, n: int, table: Int32Array, pairs: Int32Array, lengths: Int32Array) -> int:
    """Pairs of segments that touch, in the order in which they are met, and over how many pixel edges.

    Args:
        ids: (H, W) int32 in 0 .. n - 1.
        n: number of segments.
        table: (T,) int32, all -1: room for a hash table, T a power of two and twice the room for pairs.
        pairs: (E, 2) int32, written: the smaller id first.
        lengths: (E,) int32, written: pixel edges shared by each pair.

    Returns:
        The number of pairs; -1 if there was no room for all.
    """
    height, width = ids.shape
    mask = np.int64(table.size - 1)
    count = 0
    for y in range(height):
        for x in range(width):
            here = ids[y, x]
            for direction in range(2):
                if direction == 0:
                    if x + 1 == width:
                        continue
                    there = ids[y, x + 1]
                else:
                    if y + 1 == height:
                        continue
                    there = ids[y + 1, x]
                if there == here:
                    continue
                low, high = min(here, there), max(here, there)
                place = ((np.int64(low) * n + high) * _SCATTER >> 20) & mask
                while table[place] >= 0 and (pairs[table[place], 0] != low or pairs[table[place], 1] != high):
                    place = (place + 1) & mask
                if table[place] < 0:
                    if count == lengths.size:
                        return -1
                    table[place] = count
                    pairs[count, 0], pairs[count, 1], lengths[count] = low, high, 0
                    count += 1
                lengths[table[place]] += 1
    return count


@compiled
def pool_rows(
    values: Float32Array,
    ids: Int32Array,
    rows: tuple[npt.NDArray[np.uint32], Float32Array],
    columns: tuple[npt.NDArray[np.uint32], Float32Array],
    start: int,
    stop: int,
    sums: Float32Array,
) -> None:
    """Sum over each segment's pixels of values that are interpolated bilinearly to the ids' size.

    Args:
        values: (h, w, C) float32.
        ids: (H, W) int32 in 0 .. S - 1.
        rows: (H,) index of the row of values above every row of pixels, and weight of the one after it.
        columns: (W,) likewise along x.
        start, stop: rows of pixels.
        sums: (S, C) float32, added to.
    """
    h, w, n_channels = values.shape
    width = ids.shape[1]
    above, weight_below = rows
    left, weight_right = columns
    row = np.empty((w, n_channels), np.float32)
    weights = np.zeros(w + 1, np.float32)
    for y in range(start, stop):
        first = np.int64(above[y])
        second = min(first + 1, h - 1)
        share = weight_below[y]
        for column in range(w):
            one, other, out = values[first, column], values[second, column], row[column]
            for c in range(n_channels):
                out[c] = one[c] + share * (other[c] - one[c])
        x = 0
        while x < width:
            segment, begin = ids[y, x], np.int64(left[x])
            while x < width and ids[y, x] == segment:
                weight = weight_right[x]
                weights[left[x]] += np.float32(1) - weight
                weights[left[x] + _NEXT] += weight
                x += 1
            end = np.int64(left[x - 1]) + 1
            total = sums[segment]
            for column in range(begin, end + 1):
                weight, source = weights[column], row[min(column, w - 1)]
                weights[column] = np.float32(0)
                for c in range(n_channels):
                    total[c] += weight * source[c]


@compiled
def describe(ids: Int32Array, n: int, boxes: Int32Array, sums: npt.NDArray[np.int64]) -> None:
    """Box, area and sums of coordinates of every segment.

    Args:
        ids: (H, W) int32 in 0 .. n - 1.
        n: number of segments.
        boxes: (n, 4) int32, written: top, left, bottom, right; the last two are exclusive.
        sums: (n, 3) int64, zero before: pixels, sum of y, sum of x.
    """
    height, width = ids.shape
    boxes[:, :2] = max(height, width)
    boxes[:, 2:] = 0
    for y in range(height):
        x = 0
        while x < width:
            segment, first = ids[y, x], x
            while x < width and ids[y, x] == segment:
                x += 1
            box, total = boxes[segment], sums[segment]
            box[0], box[1] = min(box[0], y), min(box[1], first)
            box[2], box[3] = y + 1, max(box[3], x)
            n_pixels = x - first
            total[0] += n_pixels
            total[1] += n_pixels * y
            total[2] += n_pixels * (first + x - 1) // 2
