"""Ranking of regions by the distance to their nearest neighbour: the smallest is found in a few steps."""

from typing import Any, NamedTuple

import numpy as np

from seg_ros._numba import compiled_where_possible, inlined_where_possible
from seg_ros.arrays import Float32Array, Int32Array

UNREACHED = np.float32(np.inf)
"""Distance of a region without neighbours."""

_BLOCK, _LAST = 32, np.int32(2**31 - 1)


class DistanceRanking(NamedTuple):
    """Distance of each region to its nearest neighbour, in blocks that make the minimum quick to find.

    Attributes:
        distances: (n rounded up to whole blocks,) float32, 0 or more; infinite = no neighbour.
        bits: The same memory as int32. For numbers of 0 or more the order is the same and the search faster.
        minima: (blocks rounded up to whole blocks of blocks,) int32, minimum of the bits of each block.
        tops: (blocks of blocks,) int32, minimum of each block of ``minima``.
    """

    distances: Float32Array
    bits: Int32Array
    minima: Int32Array
    tops: Int32Array


@inlined_where_possible
def _lowest(values: Int32Array) -> Any:
    """Minimum of a block."""
    lowest = _LAST
    for value in values:
        lowest = min(lowest, value)
    return lowest


@compiled_where_possible
def set_distance(ranking: DistanceRanking, region: Any, distance: Any) -> None:
    """Set the distance of a region to its nearest neighbour, and update the minimum of its block."""
    ranking.distances[region] = distance
    block = region // _BLOCK
    top = block // _BLOCK
    ranking.minima[block] = _lowest(ranking.bits[block * _BLOCK : block * _BLOCK + _BLOCK])
    ranking.tops[top] = _lowest(ranking.minima[top * _BLOCK : top * _BLOCK + _BLOCK])


@compiled_where_possible
def ranking_of(given: Float32Array) -> DistanceRanking:
    """Ranking of the distances of regions to their nearest neighbours, (n,) float32."""
    n_blocks = given.size // _BLOCK + 1
    n_tops = n_blocks // _BLOCK + 1
    distances = np.full(n_blocks * _BLOCK, UNREACHED, np.float32)
    for i in range(given.size):
        distances[i] = given[i]
    minima, tops = np.full(n_tops * _BLOCK, _LAST, np.int32), np.full(n_tops, _LAST, np.int32)
    ranking = DistanceRanking(distances, distances.view(np.int32), minima, tops)
    for block in range(n_blocks):
        set_distance(ranking, block * _BLOCK, distances[block * _BLOCK])
    return ranking


@compiled_where_possible
def nearest_pair(ranking: DistanceRanking) -> int:
    """Region with the smallest distance to its nearest neighbour, of equal ones the lowest."""
    bits, minima, tops = ranking.bits, ranking.minima, ranking.tops
    best = 0
    for top in range(tops.size):
        if tops[top] < tops[best]:
            best = top
    block = best * _BLOCK
    while minima[block] != tops[best]:
        block += 1
    region = block * _BLOCK
    while bits[region] != minima[block]:
        region += 1
    return region
