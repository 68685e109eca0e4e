"""Final step of all superpixel methods: connected parts, of which the small ones join a neighbour.

The loops are compiled if Numba is installed. Otherwise the same loops run in Python.
"""

import numpy as np

from seg_ros._numba import compiled_where_possible, import_kernels
from seg_ros.arrays import Float32Array, Int32Array, Int64Array
from seg_ros.segments.regions import KERNELS, Regions
from seg_ros.segments.run_lengths import Runs, touching_runs
from seg_ros.segments.union_find import connected_components, root_of, tree_numbers

MAX_PARTS = 16_384
"""Maximum number of parts of an image. Merging takes a time that grows with the square of their number."""

_STEPS = np.float32(256)
_LOWER, _NOTHING = np.int64(0xFFFFFFFF), np.int64(2**63 - 1)


def clean_parts(labels: Int32Array, planes: Float32Array, min_size: int) -> Regions:
    """Connected parts of equal labels; small parts have joined the neighbour of the most similar colour.

    Args:
        labels: (H, W) int32.
        planes: (3, H, W) float32, colours from ``lab_planes``.
        min_size: Number of pixels below which a part is small; larger if there would be more than
            `MAX_PARTS` parts.
    """
    min_size = max(min_size, -(-labels.size // MAX_PARTS))
    kernels, runs = import_kernels(*KERNELS), Runs.of(labels)
    alike, unlike, _ = touching_runs(runs.rows, runs.starts, runs.ids)
    of_run, n = connected_components(len(runs.ids), alike)
    sums, sizes = np.zeros((n, 3), np.float32), np.zeros(n, np.int32)
    sum_planes = kernels.sum_planes if kernels else _sum_planes
    sum_planes(planes.reshape(3, -1), runs.starts, of_run, sums, sizes)
    of_part, n = absorb_small(unlike, of_run, sizes, sums, min_size)
    return Regions(runs.renamed(of_part[of_run]), n)


@compiled_where_possible
def absorb_small(
    pairs: Int32Array, of_node: Int32Array, sizes: Int32Array, colours: Float32Array, min_size: int
) -> tuple[Int32Array, int]:
    """Join each small region to the neighbour of the most similar mean colour, until none is left.

    Args:
        pairs: (E, 2) int32, nodes that touch. Two regions may touch in several pairs.
        of_node: (N,) int32, region of each node.
        sizes: (n,) int32, number of pixels of each region, changed.
        colours: (n, 3) float32, sums of the colours over the pixels of each region, changed.
        min_size: Number of pixels below which a region is small.

    Returns:
        (n,) int32, new region of each region, numbered in the order of their first ones; number of new
        regions.
    """
    n = sizes.size
    parent = np.arange(n).astype(np.int32)
    means = np.empty((n, 3), np.float32)
    for region in range(n):
        for c in range(3):
            means[region, c] = colours[region, c] / np.float32(sizes[region])
    nearest = np.empty(n, np.int64)
    edges = np.empty((pairs.shape[0] + 1, 2), np.int32)
    n_edges = _edges_of_small(pairs, of_node, sizes, min_size, edges)
    while n_edges:
        _find_nearest(edges[:n_edges], means, nearest)
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
        n_edges = _edges_of_small(edges[:n_edges], parent, sizes, min_size, edges)
    return tree_numbers(parent)


@compiled_where_possible
def _edges_of_small(
    edges: Int32Array, of_node: Int32Array, sizes: Int32Array, min_size: int, kept: Int32Array
) -> int:
    """Keep the edges that lead from a small region to another region.

    Args:
        edges: (E, 2) int32, nodes of each edge.
        of_node: (N,) int32, region of each node.
        sizes: (n,) int32, number of pixels of each region.
        min_size: Number of pixels below which a region is small.
        kept: (E + 1, 2) int32, written: regions of each edge that is kept. May be the memory of ``edges``.

    Returns:
        Number of edges kept.
    """
    n_kept = 0
    for k in range(edges.shape[0]):
        one, other = of_node[edges[k, 0]], of_node[edges[k, 1]]
        kept[n_kept, 0], kept[n_kept, 1] = one, other
        n_kept += (one != other) & (min(sizes[one], sizes[other]) < min_size)
    return n_kept


@compiled_where_possible
def _find_nearest(edges: Int32Array, means: Float32Array, nearest: Int64Array) -> None:
    """Find the neighbour of the most similar mean colour of each region.

    Args:
        edges: (E, 2) int32, regions that touch.
        means: (n, 3) float32, mean colours.
        nearest: (n,) int64, written: distance in steps of 1 / 256 in the upper 32 bits, neighbour in the
            lower 32 bits. Their minimum needs no branches, which would be mispredicted too often.
    """
    nearest[:] = _NOTHING
    for k in range(edges.shape[0]):
        one, other = edges[k, 0], edges[k, 1]
        first = means[one, 0] - means[other, 0]
        second = means[one, 1] - means[other, 1]
        third = means[one, 2] - means[other, 2]
        distance = np.int64(_STEPS * (first * first + second * second + third * third)) << 32
        nearest[one] = min(nearest[one], distance | np.int64(other))
        nearest[other] = min(nearest[other], distance | np.int64(one))


def _sum_planes(
    planes: Float32Array, starts: Int32Array, ids: Int32Array, sums: Float32Array, sizes: Int32Array
) -> None:
    """NumPy version of ``kernels.sum_planes``."""
    of_pixel = np.repeat(ids, np.diff(starts))
    for column, plane in enumerate(planes):
        sums[:, column] += np.bincount(of_pixel, plane, len(sums)).astype(np.float32)
    sizes += np.bincount(of_pixel, minlength=len(sizes)).astype(np.int32)
