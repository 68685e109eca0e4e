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


@compiled_where_possible
def ranking_of(given: Float32Array) -> DistanceRanking:
    """Ranking of the distances of regions to their nearest neighbours, (n,) float32."""
    n_blocks = given.size // _BLOCK + 1
    n_tops = n_blocks // _BLOCK + 1
    distances = np.full(n_blocks * _BLOCK, UNREACHED, np.float32)
    for i in range(given.size):
        distances[i] = given[i]
    minima, tops = np.full(n_tops * _BLOCK, _LAST, np.int32), np.full(n_tops, _LAST, np.int32)
    bits, firsts = distances.view(np.int32), np.arange(n_blocks).astype(np.int32) * np.int32(_BLOCK)
    rank_again(bits, minima, tops, firsts)
    return DistanceRanking(distances, bits, minima, tops)


@inlined_where_possible
def rank_again(bits: Int32Array, minima: Int32Array, tops: Int32Array, changed: Int32Array) -> None:
    """Update the minima after changes of distances.

    Args:
        bits, minima, tops: Fields of :class:`DistanceRanking`; the last two are changed.
        changed: (m,) int32, regions whose distance has changed.
    """
    for region in changed:
        block = region // _BLOCK
        lowest = _LAST
        for i in range(block * _BLOCK, block * _BLOCK + _BLOCK):
            lowest = min(lowest, bits[i])
        minima[block] = lowest
        top = block // _BLOCK
        lowest = _LAST
        for i in range(top * _BLOCK, top * _BLOCK + _BLOCK):
            lowest = min(lowest, minima[i])
        tops[top] = lowest


@inlined_where_possible
def nearest_pair(bits: Int32Array, minima: Int32Array, tops: Int32Array) -> Any:
    """Region with the smallest distance to its nearest neighbour, of equal ones the lowest.

    The arguments are fields of :class:`DistanceRanking`.
    """
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
