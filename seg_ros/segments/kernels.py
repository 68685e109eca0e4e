"""Compiled loops over pixels, superpixels and their borders; the import needs Numba.

Functions that take a range of rows or runs may run in several threads at once. Inner loops run along rows.
"""

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled
from seg_ros.arrays import Float32Array, Int32Array

_FAR, _ZERO, _ONE = np.float32(1e30), np.float32(0), np.float32(1)
_SCATTER = np.int64(0x9E3779B1)  # a multiplication by it spreads a number over the higher bits
_NEXT = np.uint32(1)
_BAND = 16
_AT_ONCE = 8  # pixels added up side by side: few channels do not fill a vector register
_CENTRE, _SIXTY_FOURTH, _THIRTY_SECOND = np.float32(128), np.float32(1 / 64), np.float32(1 / 32)


@compiled
def find_centres(planes: Float32Array, ys: Int32Array, xs: Int32Array, centres: Float32Array) -> None:
    """Move each centre of a grid to the pixel of its 3x3 neighbourhood with the smallest gradient.

    Args:
        planes: (3, H, W) float32 colour.
        ys: (n,) int32, rows of the grid.
        xs: (m,) int32, its columns.
        centres: (n * m, 5) float32, written: colour, y, x.
    """
    _, height, width = planes.shape
    for i in range(ys.size):
        for j in range(xs.size):
            least, out = _FAR, centres[i * xs.size + j]
            for k in range(9):  # the middle first, and of equal pixels the first
                y = min(max(ys[i] + 1 - (k // 3 + 1) % 3, 0), height - 1)
                x = min(max(xs[j] + 1 - (k + 1) % 3, 0), width - 1)
                above, below = max(y - 1, 0), min(y + 1, height - 1)
                left, right = max(x - 1, 0), min(x + 1, width - 1)
                gradient = np.float32(0)
                for c in range(3):
                    gradient += (planes[c, below, x] - planes[c, above, x]) ** 2
                    gradient += (planes[c, y, right] - planes[c, y, left]) ** 2
                if gradient < least:
                    least, out[3], out[4] = gradient, y, x
                    for c in range(3):
                        out[c] = planes[c, y, x]


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
    """Assign each pixel of some rows to the nearest centre within reach, and sum up the pixels by centre.

    Args:
        planes: (3, H, W) float32 colour.
        centres: (S, 5) float32: colour, y, x.
        reach: Half the side of the square around a centre in which it takes pixels.
        weight: Weight of a squared distance in pixels against one in colour.
        start: First row.
        stop: Row after the last one.
        step: Distance between rows.
        labels: (H, W) int32, written.
        sums: (S, 6) float32, zero before: colour, y, x and number of its pixels; (0, 6) = no sums.
    """
    _height, width = labels.shape
    n_centres = centres.shape[0]
    nearest = np.empty(width, np.float32)
    winner = np.empty(width, np.int32)
    near, n_near, band_end = np.empty(n_centres, np.int32), 0, start
    for y in range(start, stop, step):
        if y >= band_end:  # search the centres once for several rows
            band_end, n_near = y + _BAND, 0
            for s in range(n_centres):
                if y - reach <= centres[s, 3] <= band_end + reach:
                    near[n_near] = s
                    n_near += 1
        lightness, a, b = planes[0, y], planes[1, y], planes[2, y]
        for x in range(width):
            nearest[x], winner[x] = _FAR, labels[y, x]
        row = np.float32(y)
        for k in range(n_near):
            s = near[k]
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
            for x in range(left, right):
                dl, da, db = lightness[x] - centre_l, a[x] - centre_a, b[x] - centre_b
                dx = np.float32(np.int32(x)) - centre_x
                distance = dl * dl + da * da + db * db + weight * dx * dx + above
                closer = distance < nearest[x]
                nearest[x] = distance if closer else nearest[x]
                winner[x] = s if closer else winner[x]
        for x in range(width):
            labels[y, x] = winner[x]
        if sums.size:
            _add_row(lightness, a, b, row, winner, sums)


@compiled
def _add_row(
    lightness: Float32Array,
    a: Float32Array,
    b: Float32Array,
    row: np.float32,
    winner: Int32Array,
    sums: Float32Array,
) -> None:
    """Add the pixels of a row to the sums of their centres, run by run.

    Args:
        lightness: (W,) float32.
        a: (W,) float32.
        b: (W,) float32.
        row: Index of the row.
        winner: (W,) int32, centre of each pixel.
        sums: (S, 6) float32 of :func:`assign`, added to.
    """
    x, width = 0, winner.size
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
def sum_planes(
    planes: Float32Array, starts: Int32Array, ids: Int32Array, sums: Float32Array, sizes: Int32Array
) -> None:
    """Sum planes over the pixels of each region, and count the pixels.

    Args:
        planes: (3, H * W) float32.
        starts: (R + 1,) int32, see ``seg_ros.segments.run_lengths.Runs``.
        ids: (R,) int32, region of each run.
        sums: (S, 3) float32, added to.
        sizes: (S,) int32, added to.
    """
    first, second, third = planes[0], planes[1], planes[2]
    for run in range(ids.size):
        total = (np.float32(0), np.float32(0), np.float32(0))
        for at in range(np.uint32(starts[run]), np.uint32(starts[run + 1])):
            total = (total[0] + first[at], total[1] + second[at], total[2] + third[at])
        region = ids[run]
        sums[region, 0] += total[0]
        sums[region, 1] += total[1]
        sums[region, 2] += total[2]
        sizes[region] += starts[run + 1] - starts[run]


@compiled
def sum_moments(
    planes: Float32Array, starts: Int32Array, ids: Int32Array, first: int, last: int, sums: Float32Array
) -> None:
    """Sum L, a, b, their squares, L a, L b, a b and 1 over the pixels of each region, for some runs.

    Args:
        planes: (3, H * W) float32 8-bit CIELAB. The sums are those of (planes - 128) / (64, 32, 32).
        starts: (R + 1,) int32, see ``seg_ros.segments.run_lengths.Runs``.
        ids: (R,) int32, region of each run.
        first: First run.
        last: Run after the last one.
        sums: (S, 10) float32, added to.
    """
    none = np.float32(0)
    lights, as_, bs = planes[0], planes[1], planes[2]
    for run in range(first, last):
        l1, a1, b1, ll, aa, bb, la, lb, ab = none, none, none, none, none, none, none, none, none
        for at in range(np.uint32(starts[run]), np.uint32(starts[run + 1])):
            light = (lights[at] - _CENTRE) * _SIXTY_FOURTH
            a = (as_[at] - _CENTRE) * _THIRTY_SECOND
            b = (bs[at] - _CENTRE) * _THIRTY_SECOND
            l1, a1, b1 = l1 + light, a1 + a, b1 + b
            ll, aa, bb = ll + light * light, aa + a * a, bb + b * b
            la, lb, ab = la + light * a, lb + light * b, ab + a * b
        total = sums[ids[run]]
        total[0] += l1
        total[1] += a1
        total[2] += b1
        total[3] += ll
        total[4] += aa
        total[5] += bb
        total[6] += la
        total[7] += lb
        total[8] += ab
        total[9] += np.float32(starts[run + 1] - starts[run])


@compiled
def count_borders(
    of_runs: Int32Array,
    lengths_of_runs: Int32Array,
    ids: Int32Array,
    table: Int32Array,
    pairs: Int32Array,
    lengths: Int32Array,
) -> int:
    """Find the pairs of regions that touch, and the lengths of their borders.

    The pairs are in the order in which they first occur.

    Args:
        of_runs: (M, 2) int32, runs with different ids that touch.
        lengths_of_runs: (M,) int32, number of pixel edges shared by each pair.
        ids: (R,) int32, region of each run.
        table: (T,) int32, all -1: room for a hash table. T is a power of two, at least twice the room for
            pairs.
        pairs: (E, 2) int32, written: regions, the smaller id first.
        lengths: (E,) int32, written: number of pixel edges shared by each pair.

    Returns:
        Number of pairs; -1 if the room is too small.
    """
    mask = np.int64(table.size - 1)
    count = 0
    for k in range(lengths_of_runs.size):
        here, there = ids[of_runs[k, 0]], ids[of_runs[k, 1]]
        low, high = min(here, there), max(here, there)
        place = ((np.int64(low) * _SCATTER ^ np.int64(high)) * _SCATTER >> 20) & mask
        while table[place] >= 0 and (pairs[table[place], 0] != low or pairs[table[place], 1] != high):
            place = (place + 1) & mask
        if table[place] < 0:
            if count == lengths.size:
                return -1
            table[place] = count
            pairs[count, 0], pairs[count, 1], lengths[count] = low, high, 0
            count += 1
        lengths[table[place]] += lengths_of_runs[k]
    return count


@compiled
def pool_rows(
    values: Float32Array,
    runs: tuple[Int32Array, Int32Array, Int32Array],
    rows: tuple[npt.NDArray[np.uint32], Float32Array],
    columns: tuple[npt.NDArray[np.uint32], Float32Array],
    start: int,
    stop: int,
    sums: Float32Array,
) -> None:
    """Sum values over the pixels of each region, after bilinear interpolation to the size of the image.

    Args:
        values: (h, w, C) float32.
        runs: Rows, starts and ids, see ``seg_ros.segments.run_lengths.Runs``.
        rows: (H,) index of the row of values above each row of pixels, and (H,) weight of the row after it.
        columns: The same for columns, (W,).
        start: First row of pixels.
        stop: Row after the last one.
        sums: (S, C) float32, added to.
    """
    h, w, n_channels = values.shape
    first_runs, starts, ids = runs
    above, weight_below = rows
    left, weight_right = columns
    for y in range(start, stop):
        first, below, before = np.int64(above[y]), weight_below[y], y * left.size
        upper, lower = values[first], values[min(first + 1, h - 1)]
        for run in range(first_runs[y], first_runs[y + 1]):
            x, stop_x = np.uint32(starts[run] - before), np.uint32(starts[run + 1] - before)
            total = sums[ids[run]]
            column, here, ahead = left[x], _ZERO, _ZERO  # sums of the weights of a column and of the next one
            for pixel in range(x, stop_x + _NEXT):
                is_end = pixel == stop_x
                wanted = left[pixel - _NEXT] + np.uint32(2) if is_end else left[pixel]
                while column != wanted:
                    place = min(np.int64(column), w - 1)
                    one, other = upper[place], lower[place]
                    share, share_below = here * (_ONE - below), here * below
                    for c in range(n_channels):
                        total[c] += share * one[c] + share_below * other[c]
                    column, here, ahead = column + _NEXT, ahead, _ZERO
                if not is_end:
                    here += _ONE - weight_right[pixel]
                    ahead += weight_right[pixel]


@compiled
def pool_pixels(
    values: Float32Array,
    starts: Int32Array,
    ids: Int32Array,
    n_channels: int,
    first: int,
    last: int,
    sums: Float32Array,
) -> None:
    """Sum values of the size of the image over the pixels of each region, for some runs.

    Args:
        values: (H * W * C,) float32.
        starts: (R + 1,) int32, see ``seg_ros.segments.run_lengths.Runs``.
        ids: (R,) int32, region of each run.
        n_channels: Number of channels, C.
        first: First run.
        last: Run after the last one.
        sums: (S, C) float32, added to.
    """
    room = np.zeros(_AT_ONCE * n_channels, np.float32)
    for run in range(first, last):
        at, end = np.int64(starts[run]) * n_channels, np.int64(starts[run + 1]) * n_channels
        total = sums[ids[run]]
        n_whole = (end - at) // room.size
        for _ in range(n_whole):
            part = values[at : at + room.size]
            for c in range(room.size):
                room[c] += part[c]
            at += room.size
        if n_whole:
            for k in range(_AT_ONCE):
                for c in range(n_channels):
                    total[c] += room[k * n_channels + c]
            for c in range(room.size):
                room[c] = 0
        while at < end:
            part = values[at : at + n_channels]
            for c in range(n_channels):
                total[c] += part[c]
            at += n_channels


@compiled
def pool_blocks(
    values: Float32Array,
    rows: Int32Array,
    starts: Int32Array,
    ids: Int32Array,
    first: int,
    last: int,
    sums: Float32Array,
) -> None:
    """Sum values of the size of the image over the pixels of each region, for values in blocks of 2x2 pixels.

    Args:
        values: (H / 2, W / 2 * K * 4) float32: rows of blocks, in each the four values of each class.
        rows, starts, ids: Runs, see ``seg_ros.segments.run_lengths.Runs``.
        first: First row of pixels.
        last: Row after the last one.
        sums: (S, K) float32, added to.
    """
    n_classes, width = sums.shape[1], np.int64(starts[rows[1]])
    block = 4 * n_classes
    room = np.zeros(block, np.float32)
    for y in range(first, last):
        line, lower = values[y >> 1], 2 * (y & 1)
        for run in range(rows[y], rows[y + 1]):
            x, stop = np.int64(starts[run]) - y * width, np.int64(starts[run + 1]) - y * width
            total = sums[ids[run]]
            if x & 1:
                at = (x >> 1) * block + lower + 1
                for k in range(n_classes):
                    total[k] += line[at + 4 * k]
            if stop & 1:
                at = (stop >> 1) * block + lower
                for k in range(n_classes):
                    total[k] += line[at + 4 * k]
            begin, end = (x + 1) >> 1, stop >> 1
            if begin >= end:
                continue
            for at in range(begin * block, end * block, block):
                part = line[at : at + block]
                for i in range(block):
                    room[i] += part[i]  # the other row of the blocks too: whole vectors are faster
            for k in range(n_classes):
                total[k] += room[4 * k + lower] + room[4 * k + lower + 1]
            for i in range(block):
                room[i] = 0


@compiled
def sum_shapes(
    rows: Int32Array, starts: Int32Array, ids: Int32Array, boxes: Int32Array, sums: npt.NDArray[np.int64]
) -> None:
    """Find the box of each region, and sum up its pixels and their coordinates.

    Args:
        rows: (H + 1,) int32, see ``seg_ros.segments.run_lengths.Runs``.
        starts: (R + 1,) int32, see ``seg_ros.segments.run_lengths.Runs``.
        ids: (R,) int32, region of each run.
        boxes: (n, 4) int32, written: top, left, bottom, right; the last two are exclusive.
        sums: (n, 3) int64, zero before, written: number of pixels, sum of y, sum of x.
    """
    width = np.int64(starts[rows[1]])
    for box in boxes:
        box[0], box[1], box[2], box[3] = starts[-1], starts[-1], 0, 0
    for y in range(rows.size - 1):
        for run in range(rows[y], rows[y + 1]):
            left, right = starts[run] - y * width, starts[run + 1] - y * width
            box, total = boxes[ids[run]], sums[ids[run]]
            box[0], box[1] = min(box[0], y), min(box[1], left)
            box[2], box[3] = y + 1, max(box[3], right)
            n_pixels = right - left
            total[0] += n_pixels
            total[1] += n_pixels * y
            total[2] += n_pixels * (left + right - 1) // 2
