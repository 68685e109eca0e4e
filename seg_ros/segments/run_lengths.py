"""Run-length encoding of an image of ids: each row is divided into runs of pixels with the same id.

An image has many times fewer runs than pixels, so most loops go over runs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros._numba import compiled_where_possible
from seg_ros.arrays import Int32Array


@dataclass(frozen=True)
class Runs:
    """Runs of an image, row by row, from left to right.

    Attributes:
        rows: (H + 1,) int32, first run of each row, then the number of runs.
        starts: (R + 1,) int32, first pixel of each run in the flattened image, then the number of pixels.
        ids: (R,) int32, id of each run.
    """

    rows: Int32Array
    starts: Int32Array
    ids: Int32Array

    @classmethod
    def of(cls, image: Int32Array) -> 'Runs':
        """Runs of an image of ids, (H, W) int32."""
        height, width = image.shape
        begins = np.empty(image.shape, bool)
        begins[:, 0] = True
        np.not_equal(image[:, 1:], image[:, :-1], out=begins[:, 1:])
        starts = np.flatnonzero(begins)
        rows = np.searchsorted(starts, np.arange(height + 1) * width)
        ids = image.ravel()[starts]
        return cls(rows.astype(np.int32), np.append(starts, image.size).astype(np.int32), ids)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        height = len(self.rows) - 1
        return height, int(self.starts[-1]) // height

    def resized(self, height: int, width: int) -> 'Runs':
        """Runs of the nearest pixels, at a size of (height, width); neighbours may have equal ids."""
        (h, w), counts = self.shape, np.diff(self.rows)
        rows, columns = nearest_1d(h, height), nearest_1d(w, width)
        before = np.arange(h).repeat(counts) * w
        n_columns = np.searchsorted(columns, np.arange(w + 1))  # to the left of each border of pixels
        lengths = n_columns[self.starts[1:] - before] - n_columns[self.starts[:-1] - before]
        counts = counts[rows]
        ends = counts.cumsum()
        runs = np.arange(ends[-1]) + (self.rows[rows] - ends + counts).repeat(counts)
        kept = lengths[runs] > 0
        counts = np.bincount(np.arange(height).repeat(counts)[kept], minlength=height)
        runs = runs[kept]
        starts, firsts = np.append(0, lengths[runs].cumsum()), np.append(0, counts.cumsum())
        return Runs(firsts.astype(np.int32), starts.astype(np.int32), self.ids[runs])

    @property
    def lengths(self) -> Int32Array:
        """Number of pixels of each run, (R,) int32."""
        lengths: Int32Array = np.diff(self.starts)
        return lengths

    def renamed(self, ids: Int32Array) -> 'Runs':
        """Runs after a change of the ids to (R,) int32; neighbours with equal ids become one run."""
        begins = np.empty(ids.size, bool)
        np.not_equal(ids[1:], ids[:-1], out=begins[1:])
        begins[self.rows[:-1]] = True
        kept = np.flatnonzero(begins)
        rows = np.searchsorted(kept, self.rows).astype(np.int32)
        return Runs(rows, self.starts[np.append(kept, ids.size)], ids[kept])

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Image, (H, W), in which each pixel has the value of its run, (R,)."""
        return np.repeat(values, self.lengths).reshape(len(self.rows) - 1, -1)


def nearest_1d(n: int, n_wanted: int) -> npt.NDArray[np.int64]:
    """Nearest of ``n`` pixels in a row to each of ``n_wanted`` pixels of another size."""
    nearest: npt.NDArray[np.int64] = (np.arange(n_wanted) * 2 + 1) * n // (2 * n_wanted)
    return nearest


@compiled_where_possible
def touching_runs(
    rows: Int32Array, starts: Int32Array, ids: Int32Array
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Pairs of runs that touch.

    Args:
        rows: (H + 1,) int32, see :class:`Runs`.
        starts: (R + 1,) int32, see :class:`Runs`.
        ids: (R,) int32, see :class:`Runs`.

    Returns:
        (M, 2) int32, pairs with equal ids, the earlier run first; (N, 2) int32, pairs with different ids;
        (N,) int32, number of pixel edges shared by each pair with different ids.
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
            # Written to both lists but counted in one: a branch would be mispredicted too often.
            alike[n_alike, 0], alike[n_alike, 1] = upper, lower
            unlike[n_unlike, 0], unlike[n_unlike, 1], lengths[n_unlike] = upper, lower, end - begin
            is_alike = ids[upper] == ids[lower]
            n_alike += is_alike
            n_unlike += not is_alike
            begin = end
            upper += end_of_upper == end
            lower += end_of_lower == end
    return alike[:n_alike], unlike[:n_unlike], lengths[:n_unlike]
