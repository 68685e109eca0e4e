"""Overlaps of two partitions of an image: sparse, so that their number is bounded by the image."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Int64Array
from seg_ros.errors import ImageError
from seg_ros.segments.regions import Regions
from seg_ros.segments.run_lengths import Runs


@dataclass(frozen=True)
class Overlaps:
    """Pairs of regions that share pixels.

    Attributes:
        pairs: (E, 2) int64, region of the first and of the second partition; each pair once, sorted. E is at
            most the number of pixels.
        areas: (E,) int64, number of shared pixels, 1 or more.
    """

    pairs: Int64Array
    areas: Int64Array


def find_overlaps(one: Regions, other: Regions) -> Overlaps:
    """Overlaps of two partitions of images of the same size.

    Work and memory are bounded by the size of the image, whatever the number of regions.

    Raises:
        ImageError: The images differ in size.
    """
    if one.shape != other.shape:
        raise ImageError(f'regions have shapes {one.shape} and {other.shape}; expected equal ones')
    if one.n * other.n <= math.prod(one.shape):
        return _overlaps_in_table(one, other)
    starts = np.union1d(one.runs.starts, other.runs.starts)
    firsts, lengths = starts[:-1], np.diff(starts)
    keys = _ids_at(one.runs, firsts) * max(other.n, 1) + _ids_at(other.runs, firsts)
    order = np.argsort(keys, kind='stable')
    keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    areas = np.add.reduceat(lengths[order], begins, dtype=np.int64)
    return Overlaps(np.column_stack(np.divmod(keys[begins], max(other.n, 1))), areas)


def _overlaps_in_table(one: Regions, other: Regions) -> Overlaps:
    """Overlaps by a table of all pairs, which is faster where it is small."""
    pixels = one.ids * np.int32(other.n) + other.ids
    areas = np.bincount(pixels.ravel())
    keys = np.flatnonzero(areas)
    return Overlaps(np.column_stack(np.divmod(keys, max(other.n, 1))), areas[keys])


def _ids_at(runs: Runs, pixels: npt.NDArray[np.integer]) -> Int64Array:
    """Ids of pixels, (N,) int64, given by their sorted indices in the flattened image."""
    return runs.ids[np.searchsorted(runs.starts, pixels, 'right') - 1].astype(np.int64)
