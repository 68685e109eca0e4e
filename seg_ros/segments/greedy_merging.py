"""Greedy merging: merge the two most similar adjacent regions, again and again.

The distance between two regions is :func:`_distance`; change it there. The functions are compiled if Numba is
installed. Otherwise the same loops run in Python.

NamedTuples are unpacked before a loop: compiled code counts references at each access to a field. The
compiled code of this file contains that of ``ranking.py``: touch this file too after a change there.

Each region knows its nearest neighbour. If that neighbour moves away, the old distance stays as a lower bound
until it is the smallest of all. Only then are the neighbours of the region compared again.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled_where_possible, inlined_where_possible
from seg_ros.arrays import Float32Array, Int32Array, UInt64Array
from seg_ros.segments.bit_count import n_ones
from seg_ros.segments.ranking import UNREACHED, DistanceRanking, nearest_pair, ranking_of, set_distance
from seg_ros.segments.union_find import root_of, tree_numbers


class RegionGraph(NamedTuple):
    """Regions and their borders while they are being merged.

    Border k has two half-edges. Half-edge 2 k belongs to region pairs[k, 0] and leads to pairs[k, 1];
    half-edge 2 k + 1 leads back. The half-edges of a region form a linked list.

    Attributes:
        parent: (n,) int32, union-find forest: the root of a region is the region that it is part of now.
        pairs: (E, 2) int32, regions on both sides of each border.
        borders: (E, 2) float32, length of each border in pixel edges, and the sum along it of the distances
            at the start. Length 0 marks a border that is part of another one now, or lies within a region.
        first: (n,) int32, first half-edge of each region; -1 = none.
        last: (n,) int32, last half-edge of each region; -1 = none.
        following: (2 E,) int32, next half-edge in the same list; -1 = none.
        visits: (n, 2) int32, number of the last visit to each region, and the border found by that visit.
    """

    parent: Int32Array
    pairs: Int32Array
    borders: Float32Array
    first: Int32Array
    last: Int32Array
    following: Int32Array
    visits: Int32Array


class RegionFeatures(NamedTuple):
    """Values by which regions are compared.

    Attributes:
        sizes: (n,) float32, fraction of the image that each region covers.
        means: (n, C) float32, mean values.
        words: (n, ceil(C / 64)) uint64, signs of the means as bits; (n, 0) to compare the means themselves.
    """

    sizes: Float32Array
    means: Float32Array
    words: UInt64Array


class DistanceWeights(NamedTuple):
    """Parameters of the distance, see :func:`merge_most_similar`."""

    size_power: np.float32
    border_share: np.float32


class NearestNeighbours(NamedTuple):
    """Nearest neighbour of each region.

    Attributes:
        neighbour: (n,) int32, region; -1 = none, or not known.
        is_bound: (n,) bool, whether the distance in ``ranking`` is a lower bound only.
        ranking: Distances to the neighbours.
    """

    neighbour: Int32Array
    is_bound: npt.NDArray[np.bool_]
    ranking: DistanceRanking


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
    features = _features_of(sums, sizes, binary)
    graph = _graph_of(pairs, lengths, features)
    weights = DistanceWeights(size_power, border_share)
    nearest = _nearest_of(graph, features, weights)
    neighbour, is_bound, ranking = nearest
    visit = 0
    while True:
        one = nearest_pair(ranking)
        distance = ranking.distances[one]
        if distance > limit or distance == UNREACHED:
            return tree_numbers(graph.parent)
        visit += 1
        if is_bound[one]:
            _tidy_borders(graph, one, visit)
            neighbour[one], distance = _nearest_neighbour(graph, features, weights, one)
            is_bound[one] = False
            set_distance(ranking, one, distance)
            continue
        other = neighbour[one]
        _merge(graph, features, sums, one, other)
        set_distance(ranking, other, UNREACHED)
        _tidy_borders(graph, one, visit)
        _update_neighbours(graph, features, weights, nearest, one, other)


@inlined_where_possible
def _distance(
    borders: Float32Array,
    features: RegionFeatures,
    weights: DistanceWeights,
    border: Any,
    one: Any,
    other: Any,
) -> np.float32:
    """Distance of two adjacent regions.

    Args:
        borders: (E, 2) float32 of :class:`RegionGraph`.
        features: Values of the regions.
        weights: Parameters of the distance.
        border: Index of the border between the two regions.
        one: First region.
        other: Second region.
    """
    size_power, border_share = weights
    sizes, means, words = features
    distance = np.float32(0)
    if border_share < 1:
        distance += (np.float32(1) - border_share) * _difference(means, words, one, other)
    distance += border_share * borders[border, 1] / borders[border, 0]
    if size_power > 0:
        size, other_size = sizes[one], sizes[other]
        distance *= (np.float32(2) * size * other_size / (size + other_size)) ** size_power
    return np.float32(distance)


@inlined_where_possible
def _difference(means: Float32Array, words: UInt64Array, one: Any, other: Any) -> np.float32:
    """Fraction of differing bits of two regions, or the mean absolute difference if there are no bits."""
    total = np.float32(0)
    if words.shape[1]:
        n_differing = 0
        for w in range(words.shape[1]):
            n_differing += n_ones(words[one, w] ^ words[other, w])
        total += np.float32(n_differing)
    else:
        for c in range(means.shape[1]):
            total += abs(means[one, c] - means[other, c])
    return np.float32(total / np.float32(means.shape[1]))


@compiled_where_possible
def _features_of(sums: Float32Array, sizes: Float32Array, binary: bool) -> RegionFeatures:
    """Means and signs of all regions; ``sums`` and ``sizes`` are kept, not copied."""
    n, n_channels = sums.shape
    words = np.zeros((n, (n_channels + 63) // 64 if binary else 0), np.uint64)
    features = RegionFeatures(sizes, np.empty((n, n_channels), np.float32), words)
    for region in range(n):
        _update_mean(sums[region], sizes[region], features.means[region], words[region])
    return features


@compiled_where_possible
def _update_mean(sums: Float32Array, size: Any, mean: Float32Array, words: UInt64Array) -> None:
    """Compute the mean of one region, (C,), and its signs as bits if there is room for them."""
    for c in range(mean.size):
        mean[c] = sums[c] / size
    for w in range(words.size):
        word = np.uint64(0)
        for c in range(64 * w, min(64 * w + 64, mean.size)):
            if mean[c] > 0:
                word |= np.uint64(1) << np.uint64(c - 64 * w)
        words[w] = word


@compiled_where_possible
def _graph_of(pairs: Int32Array, lengths: Int32Array, features: RegionFeatures) -> RegionGraph:
    """Graph of regions before any are merged."""
    n, n_borders = features.sizes.size, pairs.shape[0]
    borders = np.empty((n_borders, 2), np.float32)
    for k in range(n_borders):
        borders[k, 0] = lengths[k]
        borders[k, 1] = lengths[k] * _difference(features.means, features.words, pairs[k, 0], pairs[k, 1])
    first, last = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    following = np.full(2 * n_borders, -1, np.int32)
    for half in range(following.size):
        region = pairs[half // 2, half % 2]
        if first[region] < 0:
            first[region] = half
        else:
            following[last[region]] = half
        last[region] = half
    parent, visits = np.arange(n).astype(np.int32), np.full((n, 2), -1, np.int32)
    return RegionGraph(parent, pairs.copy(), borders, first, last, following, visits)


@compiled_where_possible
def _nearest_of(graph: RegionGraph, features: RegionFeatures, weights: DistanceWeights) -> NearestNeighbours:
    """Nearest neighbour of every region."""
    n = graph.parent.size
    neighbour, distances = np.empty(n, np.int32), np.empty(n, np.float32)
    for region in range(n):
        neighbour[region], distances[region] = _nearest_neighbour(graph, features, weights, region)
    return NearestNeighbours(neighbour, np.zeros(n, np.bool_), ranking_of(distances))


@compiled_where_possible
def _nearest_neighbour(
    graph: RegionGraph, features: RegionFeatures, weights: DistanceWeights, one: Any
) -> tuple[Any, np.float32]:
    """Nearest neighbour of a region, of equally near ones the lowest, and its distance."""
    pairs, borders, following = graph.pairs, graph.borders, graph.following
    nearest, least = np.int32(-1), UNREACHED
    half = graph.first[one]
    while half >= 0:
        near = pairs[half // 2, 1 - half % 2]
        distance = _distance(borders, features, weights, half // 2, one, near)
        if distance < least or (distance == least and near < nearest):
            nearest, least = near, distance
        half = following[half]
    return nearest, least


@compiled_where_possible
def _merge(graph: RegionGraph, features: RegionFeatures, sums: Float32Array, one: Any, other: Any) -> None:
    """Merge two regions under the number of the first; its half-edges may hold duplicates afterwards."""
    sizes, means, words = features
    graph.parent[other] = one
    graph.following[graph.last[one]] = graph.first[other]
    graph.last[one] = graph.last[other]
    sizes[one] += sizes[other]
    for c in range(sums.shape[1]):
        sums[one, c] += sums[other, c]
    _update_mean(sums[one], sizes[one], means[one], words[one])


@compiled_where_possible
def _tidy_borders(graph: RegionGraph, one: Any, visit: int) -> None:
    """Reduce the half-edges of a region to one for each neighbour, and remove those to the region itself.

    Borders that now lead to the same neighbour are added up in the first of them.

    Args:
        graph: The regions, changed.
        one: The region.
        visit: A number that was never used before.
    """
    parent, pairs, borders, visits = graph.parent, graph.pairs, graph.borders, graph.visits
    first, following = graph.first, graph.following
    before, half = np.int32(-1), first[one]
    while half >= 0:
        border = half // 2
        near = root_of(parent, pairs[border, 1 - half % 2])
        if borders[border, 0] > 0 and near != one and visits[near, 0] != visit:
            visits[near, 0], visits[near, 1] = visit, border
            pairs[border, 1 - half % 2] = near
            before = half
        else:
            if borders[border, 0] > 0 and near != one:
                borders[visits[near, 1], 0] += borders[border, 0]
                borders[visits[near, 1], 1] += borders[border, 1]
            borders[border, 0] = 0
            if before < 0:
                first[one] = following[half]
            else:
                following[before] = following[half]
        half = following[half]
    graph.last[one] = before


@compiled_where_possible
def _update_neighbours(
    graph: RegionGraph,
    features: RegionFeatures,
    weights: DistanceWeights,
    nearest: NearestNeighbours,
    one: Any,
    other: Any,
) -> None:
    """Update the nearest neighbours of a merged region and of all its neighbours.

    Args:
        graph: The regions.
        features: Their values.
        weights: Parameters of the distance.
        nearest: Nearest neighbours, changed.
        one: The merged region.
        other: The region that has become part of it.
    """
    neighbour, is_bound, ranking = nearest
    distances = ranking.distances
    pairs, borders, following = graph.pairs, graph.borders, graph.following
    closest, least = np.int32(-1), UNREACHED
    half = graph.first[one]
    while half >= 0:
        near = pairs[half // 2, 1 - half % 2]
        distance = _distance(borders, features, weights, half // 2, one, near)
        if distance < least or (distance == least and near < closest):
            closest, least = near, distance
        was_nearest = neighbour[near] == one or neighbour[near] == other
        is_tie = distance == distances[near] and not is_bound[near] and one < neighbour[near]
        if distance < distances[near] or is_tie or (was_nearest and distance == distances[near]):
            neighbour[near], is_bound[near] = one, False
            set_distance(ranking, near, distance)
        elif was_nearest:
            neighbour[near], is_bound[near] = -1, True
        half = following[half]
    neighbour[one] = closest
    set_distance(ranking, one, least)
