"""Graphs of regions: compiled where Numba is there, and the same loops in plain Python where it is not."""

from typing import Any

import numpy as np

from seg_ros._numba import compiled_where_possible, inlined_where_possible
from seg_ros.arrays import Float32Array, Int32Array, UInt64Array

_UNREACHED = np.float32(np.inf)
_STEPS, _BLOCK, _LAST = np.float32(256), 32, np.int32(2**31 - 1)
_LOWER, _NOTHING = np.int64(0xFFFFFFFF), np.int64(2**63 - 1)


@compiled_where_possible
def root_of(parent: Int32Array, node: int) -> int:
    """The root of a node of a union-find forest, in which every node is then one step nearer to it."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled_where_possible
def number_trees(parent: Int32Array) -> tuple[Int32Array, int]:
    """Number the trees of a forest in the order of their first nodes: (n,) int32 tree of each node, count."""
    numbers = np.full(parent.size, -1, np.int32)
    of_node = np.empty(parent.size, np.int32)
    count = 0
    for node in range(parent.size):
        root = root_of(parent, node)
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        of_node[node] = numbers[root]
    return of_node, count


@compiled_where_possible
def join_pairs(n: int, pairs: Int32Array) -> tuple[Int32Array, int]:
    """Connected components of a graph.

    Args:
        n: nodes.
        pairs: (E, 2) int32, nodes that belong together.

    Returns:
        (n,) int32 component of each node, numbered in the order of their first nodes; their number.
    """
    parent = np.arange(n).astype(np.int32)
    for k in range(pairs.shape[0]):
        one, other = root_of(parent, pairs[k, 0]), root_of(parent, pairs[k, 1])
        parent[max(one, other)] = min(one, other)
    return number_trees(parent)


@compiled_where_possible
def _keep_small(
    edges: Int32Array, of_node: Int32Array, sizes: Int32Array, min_size: int, kept: Int32Array
) -> int:
    """Rename the ends of (E, 2) int32 edges, and keep those with an end below ``min_size``.

    Returns:
        How many rows of ``kept`` these fill; an edge of a region with itself is none.
    """
    n_kept = 0
    for k in range(edges.shape[0]):
        one, other = of_node[edges[k, 0]], of_node[edges[k, 1]]
        kept[n_kept, 0], kept[n_kept, 1] = one, other
        n_kept += (one != other) & (min(sizes[one], sizes[other]) < min_size)
    return n_kept


@compiled_where_possible
def join_small(
    pairs: Int32Array, of_node: Int32Array, sizes: Int32Array, colours: Float32Array, min_size: int
) -> tuple[Int32Array, int]:
    """Join each region below a size to the neighbour of the most similar mean colour, until none is left.

    Args:
        pairs: (E, 2) int32, nodes that touch; two regions may do so by many.
        of_node: (N,) int32, the region of each node.
        sizes: (n,) int32, pixels of each region; changed.
        colours: (n, 3) float32, sums over their pixels; changed.
        min_size: in pixels.

    Returns:
        (n,) int32 new region of each region, numbered in the order of their first ones; their number.
    """
    n = sizes.size
    parent = np.arange(n).astype(np.int32)
    means = np.empty((n, 3), np.float32)
    for region in range(n):
        for c in range(3):
            means[region, c] = colours[region, c] / np.float32(sizes[region])
    # The distance to the nearest neighbour in steps of 1 / 256, and which that is in the lower 32 bits: the
    # least of such numbers is found without branches, which would be guessed wrong too often.
    nearest = np.empty(n, np.int64)
    edges = np.empty((pairs.shape[0] + 1, 2), np.int32)
    n_edges = _keep_small(pairs, of_node, sizes, min_size, edges)
    while n_edges:
        nearest[:] = _NOTHING
        for k in range(n_edges):
            one, other = edges[k, 0], edges[k, 1]
            first = means[one, 0] - means[other, 0]
            second = means[one, 1] - means[other, 1]
            third = means[one, 2] - means[other, 2]
            distance = np.int64(_STEPS * (first * first + second * second + third * third)) << 32
            nearest[one] = min(nearest[one], distance | np.int64(other))
            nearest[other] = min(nearest[other], distance | np.int64(one))
        for region in range(n):
            if parent[region] != region or sizes[region] >= min_size or nearest[region] == _NOTHING:
                continue
            target = root_of(parent, nearest[region] & _LOWER)
            if target != region:
                parent[region] = target
                sizes[target] += sizes[region]
                for c in range(3):
                    colours[target, c] += colours[region, c]
                    means[target, c] = colours[target, c] / np.float32(sizes[target])
        for region in range(n):
            parent[region] = root_of(parent, region)
        n_edges = _keep_small(edges[:n_edges], parent, sizes, min_size, edges)
    return number_trees(parent)


_TWOS, _FOURS, _EIGHTS = (
    np.uint64(0x5555555555555555),
    np.uint64(0x3333333333333333),
    np.uint64(0x0F0F0F0F0F0F0F0F),
)
_SHIFTS = (np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(8), np.uint64(16), np.uint64(32))
_COUNT = np.uint64(0x7F)


@inlined_where_possible
def _n_ones(word: Any) -> int:
    """Set bits of a uint64."""
    word = word - ((word >> _SHIFTS[0]) & _TWOS)
    word = (word & _FOURS) + ((word >> _SHIFTS[1]) & _FOURS)
    word = (word + (word >> _SHIFTS[2])) & _EIGHTS
    word = word + (word >> _SHIFTS[3])
    word = word + (word >> _SHIFTS[4])
    word = word + (word >> _SHIFTS[5])
    return int(word & _COUNT)


@compiled_where_possible
def _describe(sums: Float32Array, size: Any, mean: Float32Array, words: UInt64Array) -> None:
    """Fill the mean of a region and, where there is room for them, its signs as bits."""
    for c in range(mean.size):
        mean[c] = sums[c] / size
    for w in range(words.size):
        word = np.uint64(0)
        for c in range(64 * w, min(64 * w + 64, mean.size)):
            if mean[c] > 0:
                word |= np.uint64(1) << np.uint64(c - 64 * w)
        words[w] = word


@inlined_where_possible
def _unlike(means: Float32Array, words: UInt64Array, one: Any, other: Any) -> np.float32:
    """Share of bits in which two regions differ, or their mean difference where there are no bits."""
    total = np.float32(0)
    if words.shape[1]:
        n_unlike = 0
        for w in range(words.shape[1]):
            n_unlike += _n_ones(words[one, w] ^ words[other, w])
        total += np.float32(n_unlike)
    else:
        for c in range(means.shape[1]):
            total += abs(means[one, c] - means[other, c])
    return np.float32(total / np.float32(means.shape[1]))


@inlined_where_possible
def _distance(
    described: Any, borders: Float32Array, edge: Any, one: Any, other: Any, rule: Any
) -> np.float32:
    """How far apart two regions are.

    Args:
        described: means, words and sizes of all regions.
        borders: (E, 2) float32, length of each border, and sum along it of how unlike the first regions were.
        edge: their border.
        one, other: the regions.
        rule: size_power and border_share of :func:`join_alike`.
    """
    means, words, sizes = described
    size_power, border_share = rule
    between = np.float32(0)
    if border_share < 1:
        between += (np.float32(1) - border_share) * _unlike(means, words, one, other)
    between += border_share * borders[edge, 1] / borders[edge, 0]
    if size_power > 0:
        between *= (np.float32(2) * sizes[one] * sizes[other] / (sizes[one] + sizes[other])) ** size_power
    return np.float32(between)


@compiled_where_possible
def _put(ranking: Any, region: Any, distance: Any) -> None:
    """Note how far a region is apart from its nearest neighbour, and what that makes the least of its block.

    Args:
        ranking: of all regions: the distances, (n,) float32 filled up to whole blocks; the same memory as
            int32, which orders numbers of 0 or more alike and is searched faster; the least of each block.
        region: whose.
        distance: 0 or more.
    """
    apart, bits, least = ranking
    apart[region] = distance
    block, lowest = region // _BLOCK, _LAST
    for value in bits[block * _BLOCK : block * _BLOCK + _BLOCK]:
        lowest = min(lowest, value)
    least[block] = lowest


@compiled_where_possible
def _first(ranking: Any) -> int:
    """The region least apart from its nearest neighbour, of equal ones the lowest."""
    _, bits, least = ranking
    best = 0
    for block in range(least.size):
        if least[block] < least[best]:
            best = block
    region = best * _BLOCK
    while bits[region] != least[best]:
        region += 1
    return region


@compiled_where_possible
def _list_halves(n: int, pairs: Int32Array) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Linked lists of the half-edges of each region: first, last, (n,) int32; the one after, (2 E,) int32.

    Half 2 k belongs to pairs[k, 0] and leads to pairs[k, 1], half 2 k + 1 the other way. -1 = none.
    """
    first, last = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    following = np.full(2 * pairs.shape[0], -1, np.int32)
    for half in range(following.size):
        region = pairs[half // 2, half % 2]
        if first[region] < 0:
            first[region] = half
        else:
            following[last[region]] = half
        last[region] = half
    return first, last, following


@compiled_where_possible
def _unlist(
    one: Any,
    mark: int,
    parent: Int32Array,
    pairs: Int32Array,
    lists: Any,
    seen: Int32Array,
    borders: Float32Array,
) -> None:
    """Leave one half-edge to each neighbour in a region's list, with its number of now, and none to itself.

    What lies along edges that now lead to the same neighbour is summed up in the one that stays.

    Args:
        one: the region.
        mark: a number never used before.
        parent: (n,) int32, the forest of joined regions.
        pairs: (E, 2) int32, changed.
        lists: from :func:`_list_halves`, changed.
        seen: (n, 2) int32, changed: the last mark, and the edge kept then.
        borders: (E, 2) float32, changed; an edge of length 0 is in no list any more.
    """
    first, last, following = lists
    before, half = np.int32(-1), first[one]
    while half >= 0:
        edge = half // 2
        near = root_of(parent, pairs[edge, 1 - half % 2])
        if borders[edge, 0] > 0 and near != one and seen[near, 0] != mark:
            seen[near, 0], seen[near, 1] = mark, edge
            pairs[edge, 1 - half % 2] = near
            before = half
        else:
            if borders[edge, 0] > 0 and near != one:
                borders[seen[near, 1], 0] += borders[edge, 0]
                borders[seen[near, 1], 1] += borders[edge, 1]
            borders[edge, 0] = 0
            if before < 0:
                first[one] = following[half]
            else:
                following[before] = following[half]
        half = following[half]
    last[one] = before


@compiled_where_possible
def _nearest(
    one: Any, pairs: Int32Array, lists: Any, borders: Float32Array, described: Any, rule: Any
) -> tuple[Any, np.float32]:
    """The neighbour that a region is least apart from, of equal ones the lowest, and how far that is."""
    first, _, following = lists
    nearest, apart = np.int32(-1), _UNREACHED
    half = first[one]
    while half >= 0:
        near = pairs[half // 2, 1 - half % 2]
        between = _distance(described, borders, half // 2, one, near, rule)
        if between < apart or (between == apart and near < nearest):
            nearest, apart = near, between
        half = following[half]
    return nearest, apart


@compiled_where_possible
def _join(one: Any, other: Any, parent: Int32Array, lists: Any, sums: Float32Array, described: Any) -> None:
    """Make two regions one, under the number of the first."""
    first, last, following = lists
    means, words, sizes = described
    parent[other] = one
    following[last[one]] = first[other]
    last[one] = last[other]
    sizes[one] += sizes[other]
    for c in range(sums.shape[1]):
        sums[one, c] += sums[other, c]
    _describe(sums[one], sizes[one], means[one], words[one])


@compiled_where_possible
def _compare(
    one: Any,
    other: Any,
    nearest: Int32Array,
    is_bound: Any,
    ranking: Any,
    pairs: Int32Array,
    lists: Any,
    borders: Float32Array,
    described: Any,
    rule: Any,
) -> None:
    """Let a region that another one has joined, and all its neighbours, know who is nearest to them now.

    Args:
        one, other: the region and what it has taken in.
        nearest: (n,) int32, changed.
        is_bound: (n,) bool, changed: whether a distance is that of a neighbour that has gone further away.
        ranking: see :func:`_put`, changed.
        pairs, lists, borders, described, rule: see :func:`_nearest`.
    """
    first, _, following = lists
    apart = ranking[0]
    likest, least = np.int32(-1), _UNREACHED
    half = first[one]
    while half >= 0:
        near = pairs[half // 2, 1 - half % 2]
        between = _distance(described, borders, half // 2, one, near, rule)
        if between < least or (between == least and near < likest):
            likest, least = near, between
        was_nearest = nearest[near] == one or nearest[near] == other
        is_tie = between == apart[near] and not is_bound[near] and one < nearest[near]
        if between < apart[near] or is_tie or (was_nearest and between == apart[near]):
            nearest[near], is_bound[near] = one, False
            _put(ranking, near, between)
        elif was_nearest:
            nearest[near], is_bound[near] = -1, True
        half = following[half]
    nearest[one] = likest
    _put(ranking, one, least)


@compiled_where_possible
def join_alike(
    pairs: Int32Array,
    lengths: Int32Array,
    sums: Float32Array,
    sizes: Float32Array,
    binary: bool,
    limit: np.float32,
    size_power: np.float32,
    border_share: np.float32,
) -> tuple[Int32Array, int]:
    """Join the two touching regions that are most alike, again and again, until the best are too unlike.

    A joined region is described by the mean over its pixels. Regions are as far apart as their descriptions
    are, mixed with the mean, along their border, of how far apart the regions were that touched there at the
    start; times a power of the harmonic mean of their sizes, which joins small regions before large ones. Of
    equally near pairs the one of the lowest regions is joined first.

    Args:
        pairs: (E, 2) int32, regions that touch, each pair once.
        lengths: (E,) int32, how far they touch.
        sums: (n, C) float32, of the values of each region's pixels; changed.
        sizes: (n,) float32, of the regions, as shares of the image; changed.
        binary: describe a region by the signs of its means, which makes distances Hamming distances as
            shares of all bits; else by the means, and distances are mean absolute differences.
        limit: regions further apart than this stay apart.
        size_power: 0 = sizes do not matter.
        border_share: 0..1, how much the border counts.

    Returns:
        (n,) int32 new region of each region, numbered in the order of their first ones; their number.
    """
    n, n_channels = sums.shape
    parent, pairs = np.arange(n).astype(np.int32), pairs.copy()
    means = np.empty((n, n_channels), np.float32)
    words = np.zeros((n, (n_channels + 63) // 64 if binary else 0), np.uint64)
    for region in range(n):
        _describe(sums[region], sizes[region], means[region], words[region])
    described, rule = (means, words, sizes), (size_power, border_share)
    borders = np.empty((pairs.shape[0], 2), np.float32)
    for k in range(pairs.shape[0]):
        borders[k, 0] = lengths[k]
        borders[k, 1] = lengths[k] * _unlike(means, words, pairs[k, 0], pairs[k, 1])
    lists, seen = _list_halves(n, pairs), np.full((n, 2), -1, np.int32)
    # Each region knows its nearest neighbour. Where that has gone further away, the former distance stays as
    # a bound until it matters.
    nearest, is_bound = np.full(n, -1, np.int32), np.zeros(n, np.bool_)
    n_blocks = n // _BLOCK + 1
    apart = np.full(n_blocks * _BLOCK, _UNREACHED, np.float32)
    ranking = (apart, apart.view(np.int32), np.empty(n_blocks, np.int32))
    for region in range(n):
        nearest[region], apart[region] = _nearest(region, pairs, lists, borders, described, rule)
    for block in range(n_blocks):
        _put(ranking, block * _BLOCK, apart[block * _BLOCK])
    mark = 0
    while True:
        one = _first(ranking)
        if apart[one] > limit or apart[one] == _UNREACHED:
            return number_trees(parent)
        mark += 1
        if is_bound[one]:
            _unlist(one, mark, parent, pairs, lists, seen, borders)
            nearest[one], between = _nearest(one, pairs, lists, borders, described, rule)
            is_bound[one] = False
            _put(ranking, one, between)
            continue
        other = nearest[one]
        _join(one, other, parent, lists, sums, described)
        _put(ranking, other, _UNREACHED)
        _unlist(one, mark, parent, pairs, lists, seen, borders)
        _compare(one, other, nearest, is_bound, ranking, pairs, lists, borders, described, rule)
