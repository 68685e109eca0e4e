"""Graphs of regions: compiled where Numba is there, and the same loops in plain Python where it is not."""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.compiling import compiled_where_possible

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


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
def join_small(
    pairs: Int32Array, sizes: Int32Array, colours: Float32Array, min_size: int
) -> tuple[Int32Array, int]:
    """Join each region below a size to the neighbour of the most similar mean colour, until none is left.

    Args:
        pairs: (E, 2) int32, regions that touch.
        sizes: (n,) int32, pixels of each region; changed.
        colours: (n, C) float32, sums over their pixels; changed.
        min_size: in pixels.

    Returns:
        (n,) int32 new region of each region, numbered in the order of their first ones; their number.
    """
    n = sizes.size
    parent = np.arange(n).astype(np.int32)
    nearest = np.empty(n, np.int32)
    least = np.empty(n, np.float32)
    changed = True
    while changed:
        changed = False
        nearest[:] = -1
        for k in range(pairs.shape[0]):
            one, other = root_of(parent, pairs[k, 0]), root_of(parent, pairs[k, 1])
            if one == other or (sizes[one] >= min_size and sizes[other] >= min_size):
                continue
            distance = np.float32(0)
            for c in range(colours.shape[1]):
                difference = colours[one, c] / sizes[one] - colours[other, c] / sizes[other]
                distance += difference * difference
            if nearest[one] < 0 or distance < least[one]:
                nearest[one], least[one] = other, distance
            if nearest[other] < 0 or distance < least[other]:
                nearest[other], least[other] = one, distance
        for region in range(n):
            if parent[region] != region or sizes[region] >= min_size or nearest[region] < 0:
                continue
            target = root_of(parent, nearest[region])
            if target == region:
                continue
            parent[region] = target
            sizes[target] += sizes[region]
            for c in range(colours.shape[1]):
                colours[target, c] += colours[region, c]
            changed = True
    return number_trees(parent)


@compiled_where_possible
def _distance(
    described: Float32Array, sizes: Float32Array, one: Any, other: Any, size_power: np.float32
) -> np.float32:
    """Mean absolute difference of two descriptions, times the sizes' harmonic mean to a power."""
    total = np.float32(0)
    for c in range(described.shape[1]):
        total += abs(described[one, c] - described[other, c])
    total /= np.float32(described.shape[1])
    if size_power > 0:
        total *= (np.float32(2) * sizes[one] * sizes[other] / (sizes[one] + sizes[other])) ** size_power
    return np.float32(total)


@compiled_where_possible
def join_alike(
    pairs: Int32Array,
    sums: Float32Array,
    sizes: Float32Array,
    binary: bool,
    limit: np.float32,
    size_power: np.float32,
) -> tuple[Int32Array, int]:
    """Join the two touching regions that are most alike, again and again, until the best are too unlike.

    A joined region is described by the mean over its pixels. Regions are as far apart as their descriptions,
    times a power of the harmonic mean of their sizes: small regions are joined before large ones.

    Args:
        pairs: (E, 2) int32, regions that touch, each pair once.
        sums: (n, C) float32, of the values of each region's pixels; changed.
        sizes: (n,) float32, of the regions, as shares of the image; changed.
        binary: describe a region by the signs of its means, which makes distances Hamming distances as
            shares of all bits; else by the means, and distances are mean absolute differences.
        limit: regions further apart than this stay apart.
        size_power: 0 = sizes do not matter.

    Returns:
        (n,) int32 new region of each region, numbered in the order of their first ones; their number.
    """
    n, n_channels = sums.shape
    n_halves = 2 * pairs.shape[0]
    parent = np.arange(n).astype(np.int32)
    version = np.zeros(n, np.int32)
    # Half-edges in a linked list for each region; half 2 k belongs to pairs[k, 0] and leads to pairs[k, 1].
    first, last = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    following = np.full(n_halves, -1, np.int32)
    described = np.empty((n, n_channels), np.float32)
    for region in range(n):
        for c in range(n_channels):
            mean = sums[region, c] / sizes[region]
            described[region, c] = (np.float32(1) if mean > 0 else np.float32(0)) if binary else mean
    queue = [(np.float32(0), np.int32(0), np.int32(0), np.int32(0), np.int32(0))]
    queue.clear()
    for half in range(n_halves):
        region = pairs[half // 2, half % 2]
        if first[region] < 0:
            first[region] = half
        else:
            following[last[region]] = half
        last[region] = half
    for k in range(pairs.shape[0]):
        one, other = pairs[k, 0], pairs[k, 1]
        apart = _distance(described, sizes, one, other, size_power)
        if apart <= limit:
            heapq.heappush(queue, (apart, one, other, version[one], version[other]))
    while len(queue):
        apart, one, other, one_version, other_version = heapq.heappop(queue)
        if version[one] != one_version or version[other] != other_version:
            continue
        parent[other] = one
        version[one] += 1
        version[other] += 1
        following[last[one]] = first[other]
        last[one] = last[other]
        sizes[one] += sizes[other]
        for c in range(n_channels):
            sums[one, c] += sums[other, c]
            mean = sums[one, c] / sizes[one]
            described[one, c] = (np.float32(1) if mean > 0 else np.float32(0)) if binary else mean
        half = first[one]
        while half >= 0:
            near = np.int32(root_of(parent, pairs[half // 2, 1 - half % 2]))
            if near != one:
                apart = _distance(described, sizes, one, near, size_power)
                if apart <= limit:
                    heapq.heappush(queue, (apart, one, near, version[one], version[near]))
            half = following[half]
    return number_trees(parent)
