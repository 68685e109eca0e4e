"""Gaussian filter of values at points of any dimension, in time linear in their number; needs Numba.

A. Adams, J. Baek, A. Davis, "Fast high-dimensional filtering using the permutohedral lattice", Eurographics
2010. Points are embedded in the hyperplane of coordinates that sum to 0. Each point gives its value to the
corners of the simplex of the lattice that it lies in (splat), the lattice is blurred along each of its axes,
and each point reads its corners again (slice). All weights are barycentric.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seg_ros._numba import compiled_where_possible
from seg_ros.arrays import Float32Array, Int32Array

_PRIMES = (73856093, 19349663, 83492791, 49979687, 86028121, 67867967)


@dataclass(frozen=True)
class PermutohedralLattice:
    """Lattice for a fixed set of points.

    Attributes:
        corners: (N, D + 1) int32, lattice points around each point.
        weights: (N, D + 1) float32, barycentric weights of these, which sum to 1.
        neighbours: (D + 1, M, 2) int32, both neighbours of each lattice point along each axis; -1 = none.
    """

    corners: Int32Array
    weights: Float32Array
    neighbours: Int32Array

    @classmethod
    def of(cls, points: Float32Array) -> 'PermutohedralLattice':
        """Lattice for points (N, D) float32, 1 <= D <= 6, scaled so that the Gaussian has deviation 1."""
        n, dimension = points.shape
        keys = np.empty((n * (dimension + 1), dimension), np.int32)
        weights = np.zeros((n, dimension + 1), np.float32)
        _embed(points, keys, weights)
        table = np.full(1 << (2 * len(keys)).bit_length(), -1, np.int32)
        corners = np.empty(len(keys), np.int32)
        n_kept = _number(keys, table, corners)
        kept = keys[:n_kept].copy()
        neighbours = np.full((dimension + 1, n_kept, 2), -1, np.int32)
        _link(kept, table, neighbours)
        return cls(corners.reshape(n, dimension + 1), weights, neighbours)

    def filter(self, values: Float32Array) -> Float32Array:
        """Sums of the values of all points, weighted by exp(-|p - q|^2 / 2), up to a common factor.

        Args:
            values: (N, K) float32.

        Returns:
            (N, K) float32.
        """
        result = np.zeros_like(values)
        _run(self.corners, self.weights, self.neighbours, np.ascontiguousarray(values), result)
        return result


@compiled_where_possible
def _embed(points: Float32Array, keys: Int32Array, weights: Float32Array) -> None:
    """Find the simplex around each point: keys of its corners, and the weights of these."""
    n, dimension = points.shape
    n_corners = dimension + 1
    scale = np.empty(dimension, np.float32)
    for i in range(dimension):
        scale[i] = n_corners * np.sqrt(2.0 / 3.0) / np.sqrt((i + 1.0) * (i + 2.0))
    raised = np.empty(n_corners, np.float32)
    base, rank = np.empty(n_corners, np.int32), np.empty(n_corners, np.int32)
    bary = np.empty(n_corners + 1, np.float32)
    for p in range(n):
        tail = np.float32(0)
        for i in range(dimension, 0, -1):
            value = points[p, i - 1] * scale[i - 1]
            raised[i] = tail - i * value
            tail += value
        raised[0] = tail
        _find_simplex(raised, base, rank, bary)
        for corner in range(n_corners):
            weights[p, corner] = bary[corner]
            for i in range(dimension):
                wraps = rank[i] > dimension - corner
                keys[p * n_corners + corner, i] = base[i] + corner - (n_corners if wraps else 0)


@compiled_where_possible
def _find_simplex(raised: Float32Array, base: Int32Array, rank: Int32Array, bary: Float32Array) -> None:
    """Nearest lattice point of remainder 0, order of the differences, and barycentric coordinates."""
    n_corners = raised.size
    excess = 0
    for i in range(n_corners):
        rounded = int(np.floor(raised[i] / n_corners + 0.5))
        base[i] = rounded * n_corners
        excess += rounded
        rank[i] = 0
    for i in range(n_corners):
        for j in range(i + 1, n_corners):
            if raised[i] - base[i] < raised[j] - base[j]:
                rank[i] += 1
            else:
                rank[j] += 1
    for i in range(n_corners):  # move back into the hyperplane, whose coordinates sum to 0
        rank[i] += excess
        if rank[i] < 0:
            rank[i] += n_corners
            base[i] += n_corners
        elif rank[i] >= n_corners:
            rank[i] -= n_corners
            base[i] -= n_corners
    bary[:] = 0
    for i in range(n_corners):
        share = (raised[i] - base[i]) / n_corners
        bary[n_corners - 1 - rank[i]] += share
        bary[n_corners - rank[i]] -= share
    bary[0] += np.float32(1) + bary[n_corners]


@compiled_where_possible
def _slot(key: Int32Array, keys: Int32Array, table: Int32Array) -> Any:
    """Slot of a key in the table: the one that has it, or the free one where it belongs."""
    mixed = np.int64(0)
    for i in range(key.size):
        mixed = (mixed ^ key[i]) * np.int64(_PRIMES[i])
    slot = (mixed ^ (mixed >> 17)) & (table.size - 1)
    while table[slot] >= 0:
        other = keys[table[slot]]
        is_equal = True
        for i in range(key.size):
            if other[i] != key[i]:
                is_equal = False
                break
        if is_equal:
            break
        slot = (slot + 1) & (table.size - 1)
    return slot


@compiled_where_possible
def _number(keys: Int32Array, table: Int32Array, corners: Int32Array) -> int:
    """Number the different keys, and move them to the front of ``keys``; returns how many there are."""
    n_kept = 0
    for k in range(keys.shape[0]):
        slot = _slot(keys[k], keys, table)
        if table[slot] < 0:
            keys[n_kept] = keys[k]
            table[slot] = n_kept
            n_kept += 1
        corners[k] = table[slot]
    return n_kept


@compiled_where_possible
def _link(keys: Int32Array, table: Int32Array, neighbours: Int32Array) -> None:
    """Find both neighbours of each lattice point along each axis."""
    n, dimension = keys.shape
    key = np.empty(dimension, np.int32)
    for axis in range(dimension + 1):
        for k in range(n):
            for side in range(2):
                step = 1 if side == 0 else -1
                for i in range(dimension):
                    key[i] = keys[k, i] + step
                if axis < dimension:
                    key[axis] = keys[k, axis] - step * dimension
                neighbours[axis, k, side] = table[_slot(key, keys, table)]


@compiled_where_possible
def _run(
    corners: Int32Array,
    weights: Float32Array,
    neighbours: Int32Array,
    values: Float32Array,
    result: Float32Array,
) -> None:
    """Splat, blur and slice (N, K) values."""
    (n, n_corners), n_values = corners.shape, values.shape[1]
    lattice = np.zeros((neighbours.shape[1], n_values), np.float32)
    for p in range(n):
        for corner in range(n_corners):
            cell, weight = lattice[corners[p, corner]], weights[p, corner]
            for k in range(n_values):
                cell[k] += weight * values[p, k]
    blurred = np.empty_like(lattice)
    half = np.float32(0.5)
    for axis in range(n_corners):
        for m in range(lattice.shape[0]):
            for k in range(n_values):
                blurred[m, k] = lattice[m, k]
            for side in range(2):
                near = neighbours[axis, m, side]
                if near >= 0:
                    for k in range(n_values):
                        blurred[m, k] += half * lattice[near, k]
        lattice, blurred = blurred, lattice
    for p in range(n):
        for corner in range(n_corners):
            cell, weight = lattice[corners[p, corner]], weights[p, corner]
            for k in range(n_values):
                result[p, k] += weight * cell[k]
