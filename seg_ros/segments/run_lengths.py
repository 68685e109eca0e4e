"""Rows of an image cut into runs of pixels that have the same id.

A partition has many times fewer runs than pixels, so what can be done run by run is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled_where_possible
from seg_ros.arrays import Int32Array


@dataclass(frozen=True)
class Runs:
    """The runs of an image, row by row from the left.

    Attributes:
        rows: (H + 1,) int32, the first run of each row, and the number of runs.
        starts: (R + 1,) int32, where each run begins in the flattened image, and the number of pixels.
        ids: (R,) int32.
    """

    rows: Int32Array
    starts: Int32Array
    ids: Int32Array

    @classmethod
    def of(cls, image: Int32Array) -> 'Runs':
        """The runs of an image of ids, (H, W) int32."""
        height, width = image.shape
        begins = np.empty(image.shape, bool)
        begins[:, 0] = True
        np.not_equal(image[:, 1:], image[:, :-1], out=begins[:, 1:])
        starts = np.flatnonzero(begins)
        rows = np.searchsorted(starts, np.arange(height + 1) * width)
        ids = image.ravel()[starts]
        return cls(rows.astype(np.int32), np.append(starts, image.size).astype(np.int32), ids)

    @property
    def lengths(self) -> Int32Array:
        """(R,) int32, pixels."""
        lengths: Int32Array = np.diff(self.starts)
        return lengths

    def renamed(self, ids: Int32Array) -> 'Runs':
        """The runs where these have other ids, (R,) int32: joined where they now are equal."""
        begins = np.empty(ids.size, bool)
        np.not_equal(ids[1:], ids[:-1], out=begins[1:])
        begins[self.rows[:-1]] = True
        kept = np.flatnonzero(begins)
        rows = np.searchsorted(kept, self.rows).astype(np.int32)
        return Runs(rows, self.starts[np.append(kept, ids.size)], ids[kept])

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An image, (H, W), in which all pixels of a run have its value, (R,)."""
        return np.repeat(values, self.lengths).reshape(len(self.rows) - 1, -1)


@compiled_where_possible
def touching_runs(
    rows: Int32Array, starts: Int32Array, ids: Int32Array
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Runs that touch.

    Args:
        rows, starts, ids: of :class:`Runs`.

    Returns:
        (M, 2) int32, runs of equal ids, the earlier first; (N, 2) int32, runs of different ids; (N,) int32,
        pixel edges that these share.
    """
    width = starts[rows[1]]
    alike, unlike = np.empty((2 * ids.size, 2), np.int32), np.empty((3 * ids.size, 2), np.int32)
    lengths = np.empty(3 * ids.size, np.int32)
    n_alike, n_unlike = 0, 0
    for y in range(rows.size - 1):
        for run in range(rows[y] + 1, rows[y + 1]):
            unlike[n_unlike, 0], unlike[n_unlike, 1], lengths[n_unlike] = run - 1, run, 1
            n_unlike += 1
        if y + 2 == rows.size:
            break
        upper, lower = rows[y], rows[y + 1]
        begin = starts[lower]
        while lower < rows[y + 2]:
            end_of_upper, end_of_lower = starts[upper + 1] + width, starts[lower + 1]
            end = min(end_of_upper, end_of_lower)
            # Written to both lists, and counted in one: a branch here would be guessed wrong again and again.
            alike[n_alike, 0], alike[n_alike, 1] = upper, lower
            unlike[n_unlike, 0], unlike[n_unlike, 1], lengths[n_unlike] = upper, lower, end - begin
            is_alike = ids[upper] == ids[lower]
            n_alike += is_alike
            n_unlike += not is_alike
            begin = end
            upper += end_of_upper == end
            lower += end_of_lower == end
    return alike[:n_alike], unlike[:n_unlike], lengths[:n_unlike]
