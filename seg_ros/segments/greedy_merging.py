"""Greedy merging: merge the two most similar adjacent regions, again and again.

The functions are compiled if Numba is installed. Otherwise the same loops run in Python.

Compiled code counts references of arrays at each call. So functions that are called in loops take few arrays,
and the regions and their borders have one each instead of one for each of their facts. The compiled code of
this file contains that of ``ranking.py``: touch this file too after a change there.

Each region knows its nearest neighbour. If that neighbour moves away, the old distance stays as a lower bound
until it is the smallest of all. Only then are the neighbours of the region compared again. At the start all
distances are such bounds, 0.
"""

from typing import Any

import numpy as np

from seg_ros._numba import compiled_where_possible, inlined_where_possible
from seg_ros.arrays import Float32Array, Int32Array, UInt64Array
from seg_ros.segments.bit_count import n_ones
from seg_ros.segments.ranking import UNREACHED, nearest_pair, rank_again, ranking_of
from seg_ros.segments.union_find import tree_numbers

_NONE = np.int32(-1)

# Columns of `regions`, (n, 5) int32: parent in a union-find forest (the root of a region is the region that
# it is part of now), first and last half-edge, number of the last visit, border found by that visit.
_PARENT, _FIRST, _LAST, _VISIT, _FOUND = range(5)

# Columns of `links`, (E, 4) int32. Border k has two half-edges: 2 k belongs to region links[k, 0] and leads
# to links[k, 1], 2 k + 1 leads back. The half-edges of a region form a list: links[k, 2:] are the next ones.
_FOLLOWING = 2

# Columns of `borders`, (E, 2) float32: length in pixel edges, and the sum along the border of the distances
# at the start. Length 0 marks a border that is part of another one now, or lies within a region.
_LENGTH, _SUM = range(2)


@compiled_where_possible
def merge_most_similar(
    pairs: Int32Array,
    lengths: Int32Array,
    sums: Float32Array,
    sizes: Float32Array,
    binary: bool,
    limit: np.float32,
    size_power: np.float32,
    border_share: np.float32,
) -> tuple[Int32Array, int]:
    """Merge the two most similar adjacent regions until the distance of the best pair exceeds a limit.

    A merged region has the mean of all its pixels. The distance of two regions mixes the distance of their
    means with the mean distance, along their border, of the regions that touched there at the start. It is
    multiplied by a power of the harmonic mean of their sizes, so that small regions merge before large ones.
    Of equally near pairs, the pair of the lowest regions merges first.

    Args:
        pairs: (E, 2) int32, adjacent regions, each pair once.
        lengths: (E,) int32, lengths of the borders.
        sums: (n, C) float32, sums of the values over the pixels of each region, changed.
        sizes: (n,) float32, fraction of the image that each region covers, changed.
        binary: True compares the signs of the means: the distance is the fraction of differing bits. False
            compares the means: the distance is the mean absolute difference.
        limit: Maximum distance for merging.
        size_power: Power of the sizes; 0 = sizes do not matter.
        border_share: Weight of the border, 0..1.

    Returns:
        (n,) int32, new region of each region, numbered in the order of their first ones; number of new
        regions.
    """
    n = sizes.size
    means, words = _features_of(sums, sizes, binary)
    regions, links, borders = _graph_of(pairs, lengths, means, words)
    neighbour, is_bound = np.full(n, _NONE, np.int32), np.ones(n, np.bool_)
    distances, bits, minima, tops = ranking_of(np.zeros(n, np.float32))
    around, across = np.empty((n, 2), np.int32), np.empty(n, np.int32)
    differences, changed = np.empty(n, np.float32), np.empty(n + 1, np.int32)
    visit = 0
    while True:
        one = nearest_pair(bits, minima, tops)
        if distances[one] > limit or distances[one] == UNREACHED:
            return tree_numbers(regions[:, _PARENT].copy())
        other = _NONE if is_bound[one] else neighbour[one]
        n_changed = 0
        if other >= 0:
            sizes[one] += sizes[other]
            _merge(regions, links, sums, one, other)
            _update_mean(sums[one], sizes[one], means[one], words[one])
            distances[other], changed[0], n_changed = UNREACHED, other, 1
        visit += 1
        n_around = _tidy_borders(regions, links, borders, one, visit, around, across)
        _compare(around[:n_around], means, words, differences)
        closest, least = _NONE, UNREACHED
        for i in range(n_around):
            near, border = around[i, 1], across[i]
            distance = border_share * borders[border, _SUM] / borders[border, _LENGTH]
            if border_share < 1:
                distance += (np.float32(1) - border_share) * differences[i]
            if size_power > 0:
                size, other_size = sizes[one], sizes[near]
                distance *= (np.float32(2) * size * other_size / (size + other_size)) ** size_power
            if distance < least or (distance == least and near < closest):
                closest, least = near, distance
            if other < 0:
                continue
            was_nearest = neighbour[near] == one or neighbour[near] == other
            is_tie = distance == distances[near] and not is_bound[near] and one < neighbour[near]
            if distance < distances[near] or is_tie or (was_nearest and distance == distances[near]):
                neighbour[near], is_bound[near], distances[near] = one, False, distance
                changed[n_changed] = near
                n_changed += 1
            elif was_nearest:
                neighbour[near], is_bound[near] = _NONE, True
        neighbour[one], is_bound[one], distances[one] = closest, False, least
        changed[n_changed] = one
        rank_again(bits, minima, tops, changed[: n_changed + 1])


@compiled_where_possible
def _features_of(sums: Float32Array, sizes: Float32Array, binary: bool) -> tuple[Float32Array, UInt64Array]:
    """Values by which regions are compared.

    Returns:
        (n, C) float32, means; (n, ceil(C / 64)) uint64, their signs as bits, or (n, 0) to compare the means.
    """
    n, n_channels = sums.shape
    means = np.empty((n, n_channels), np.float32)
    words = np.zeros((n, (n_channels + 63) // 64 if binary else 0), np.uint64)
    for region in range(n):
        _update_mean(sums[region], sizes[region], means[region], words[region])
    return means, words


@compiled_where_possible
def _update_mean(sums: Float32Array, size: Any, mean: Float32Array, words: UInt64Array) -> None:
    """Compute the mean of one region, (C,), and its signs as bits if there is room for them."""
    for c in range(mean.size):
        mean[c] = sums[c] / size
    for w in range(words.size):
        word = np.uint64(0)
        for c in range(64 * w, min(64 * w + 64, mean.size)):
            word |= np.uint64(mean[c] > 0) << np.uint64(c - 64 * w)
        words[w] = word


@compiled_where_possible
def _compare(pairs: Int32Array, means: Float32Array, words: UInt64Array, differences: Float32Array) -> None:
    """Fraction of differing bits of pairs of regions, or mean absolute differences if there are no bits.

    Args:
        pairs: (E, 2) int32.
        means, words: From :func:`_features_of`.
        differences: (E,) float32 or longer, written.
    """
    n_channels, n_words = means.shape[1], words.shape[1]
    for k in range(pairs.shape[0]):
        one, other, total = pairs[k, 0], pairs[k, 1], np.float32(0)
        n_differing = 0
        for w in range(n_words):
            n_differing += n_ones(words[one, w] ^ words[other, w])
        for c in range(0 if n_words else n_channels):
            total += abs(means[one, c] - means[other, c])
        differences[k] = (total + np.float32(n_differing)) / np.float32(n_channels)


@compiled_where_possible
def _graph_of(
    pairs: Int32Array, lengths: Int32Array, means: Float32Array, words: UInt64Array
) -> tuple[Int32Array, Int32Array, Float32Array]:
    """Regions, links and borders before any regions are merged."""
    n, n_borders = means.shape[0], pairs.shape[0]
    regions, links = np.full((n, 5), _NONE, np.int32), np.full((n_borders, 4), _NONE, np.int32)
    borders, differences = np.empty((n_borders, 2), np.float32), np.empty(n_borders, np.float32)
    _compare(pairs, means, words, differences)
    for region in range(n):
        regions[region, _PARENT] = region
    for k in range(n_borders):
        borders[k, _LENGTH], borders[k, _SUM] = lengths[k], lengths[k] * differences[k]
        for side in range(2):
            region = links[k, side] = pairs[k, side]
            last = regions[region, _LAST]
            if last < 0:
                regions[region, _FIRST] = 2 * k + side
            else:
                links[last // 2, _FOLLOWING + last % 2] = 2 * k + side
            regions[region, _LAST] = 2 * k + side
    return regions, links, borders


@inlined_where_possible
def _merge(regions: Int32Array, links: Int32Array, sums: Float32Array, one: Any, other: Any) -> None:
    """Merge two regions under the number of the first; its half-edges may hold duplicates afterwards."""
    last = regions[one, _LAST]
    links[last // 2, _FOLLOWING + last % 2] = regions[other, _FIRST]
    regions[one, _LAST], regions[other, _PARENT] = regions[other, _LAST], one
    for c in range(sums.shape[1]):
        sums[one, c] += sums[other, c]


@inlined_where_possible
def _tidy_borders(
    regions: Int32Array,
    links: Int32Array,
    borders: Float32Array,
    one: Any,
    visit: int,
    around: Int32Array,
    across: Int32Array,
) -> int:
    """Reduce the half-edges of a region to one for each neighbour, and remove those to the region itself.

    Borders that now lead to the same neighbour are added up in the first of them.

    Args:
        regions, links, borders: The graph, changed.
        one: The region.
        visit: A number that was never used before.
        around: (n, 2) int32, written: the region and each of its neighbours.
        across: (n,) int32, written: the border between them.

    Returns:
        Number of neighbours.
    """
    n_around, before, half = 0, _NONE, regions[one, _FIRST]
    while half >= 0:
        border, side = half // 2, half % 2
        near, following = links[border, 1 - side], links[border, _FOLLOWING + side]
        while regions[near, _PARENT] != near:  # as in union_find.root_of
            regions[near, _PARENT] = regions[regions[near, _PARENT], _PARENT]
            near = regions[near, _PARENT]
        is_open = borders[border, _LENGTH] > 0 and near != one
        if is_open and regions[near, _VISIT] != visit:
            regions[near, _VISIT], regions[near, _FOUND] = visit, border
            links[border, 1 - side] = near
            around[n_around, 0], around[n_around, 1], across[n_around] = one, near, border
            n_around += 1
            before = half
        else:
            if is_open:
                found = regions[near, _FOUND]
                borders[found, _LENGTH] += borders[border, _LENGTH]
                borders[found, _SUM] += borders[border, _SUM]
            borders[border, _LENGTH] = 0
            if before < 0:
                regions[one, _FIRST] = following
            else:
                links[before // 2, _FOLLOWING + before % 2] = following
        half = following
    regions[one, _LAST] = before
    return n_around
