"""Colour of regions: means of CIELAB and of its products, which also describe its spread."""

import cv2
import numpy as np

from seg_ros._numba import import_kernels, run_in_parts
from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.segments.regions import KERNELS, Regions, parts_for

_CENTRE = 128.0
_SCALE = np.array([1 / 64, 1 / 32, 1 / 32], np.float32)


def lab_planes(image: UInt8Array) -> Float32Array:
    """8-bit CIELAB as (3, H, W) float32 of a (H, W, 3) uint8 RGB image."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for plane, channel in zip(planes, cv2.split(lab), strict=True):
        plane[:] = channel
    return planes


def colour_moments(planes: Float32Array, regions: Regions, n_threads: int = 0) -> Float32Array:
    """Means of L, a, b, their squares, L a, L b and a b over the pixels of each region.

    Args:
        planes: (3, H, W) float32 from :func:`lab_planes`. The means are those of (planes - 128) / (64, 32,
            32).
        regions: Regions of the image.
        n_threads: Number of threads, 0 = one per core.

    Returns:
        (S, 9) float32.
    """
    kernels, runs = import_kernels(*KERNELS), regions.runs
    sum_moments = kernels.sum_moments if kernels else _sum_moments
    flat = planes.reshape(3, -1)

    def run(start: int, stop: int) -> Float32Array:
        sums = np.zeros((regions.n, 10), np.float32)
        sum_moments(flat, runs.starts, runs.ids, runs.rows[start], runs.rows[stop], sums)
        return sums

    n_parts = parts_for(n_threads, 10 * regions.n)
    sums = np.sum(run_in_parts(run, len(runs.rows) - 1, n_parts), axis=0)
    return np.asarray(sums[:, :9] / sums[:, 9:], np.float32)


def _sum_moments(
    planes: Float32Array, starts: Int32Array, ids: Int32Array, first: int, last: int, sums: Float32Array
) -> None:
    """NumPy version of ``kernels.sum_moments``."""
    flat = np.repeat(ids[first:last], np.diff(starts[first : last + 1]))
    scaled = (planes[:, starts[first] : starts[last]] - np.float32(_CENTRE)) * _SCALE[:, None]
    light, a, b = scaled
    values = (light, a, b, light**2, a**2, b**2, light * a, light * b, a * b, np.ones_like(a))
    for column, value in enumerate(values):
        sums[:, column] += np.bincount(flat, value, len(sums)).astype(np.float32)
