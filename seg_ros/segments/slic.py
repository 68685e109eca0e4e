"""SLIC superpixels.

R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", 2012. Deliberate
differences: all iterations but the last look at every second row only, and a small part joins the neighbour
of the most similar colour instead of the previous one.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seg_ros._numba import import_kernels, run_in_parts
from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.segments.blocks import check_arguments, grid_shape
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.regions import KERNELS, Regions, parts_for
from seg_ros.segments.small_parts import clean_parts


def slic(
    image: UInt8Array,
    *,
    region_size: int = 20,
    compactness: float = 10.0,
    n_iterations: int = 5,
    min_size: float = 0.25,
    n_threads: int = 0,
    planes: Float32Array | None = None,
) -> Regions:
    """SLIC superpixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        region_size: Distance of the centres at the start in pixels, 2 or more.
        compactness: Distance in 8-bit CIELAB colour that weighs as much as ``region_size`` pixels, above 0.
        n_iterations: Number of assignments of pixels to centres, 1 or more.
        min_size: Fraction of ``region_size`` squared below which a connected part joins a neighbour.
        n_threads: Number of threads, 0 = one per core.
        planes: (3, H, W) float32, the image from ``lab_planes`` if it is known already.

    Returns:
        The superpixels; a single one if the image is smaller than a region.

    Raises:
        ImageError: The image has another shape or type.
        ParameterError: An argument is out of range.
    """
    check_arguments(image, region_size, n_iterations, min_size)
    if compactness <= 0 or n_threads < 0:
        raise ParameterError(
            f'compactness {compactness}, n_threads {n_threads}; expected more than 0, 0 or more'
        )
    planes = lab_planes(image) if planes is None else planes
    kernels = import_kernels(*KERNELS)
    find = kernels.find_centres if kernels else _find_centres
    centres = _initial_centres(planes, region_size, find)
    labels = np.zeros(image.shape[:2], np.int32)
    weight = np.float32((compactness / region_size) ** 2)
    assign = kernels.assign if kernels else _assign
    n_parts = parts_for(n_threads, 6 * len(centres))
    for iteration in range(n_iterations - 1):
        rows = iteration % 2, 2
        sums = _assign_in_parts(assign, planes, centres, region_size, weight, rows, labels, n_parts)
        filled = sums[:, 5] > 0
        centres[filled] = sums[filled, :5] / sums[filled, 5:]
    _assign_in_parts(assign, planes, centres, region_size, weight, (0, 1), labels, n_parts, False)
    return clean_parts(labels, planes, round(min_size * region_size**2))


def _assign_in_parts(
    assign: Callable[..., None],
    planes: Float32Array,
    centres: Float32Array,
    reach: int,
    weight: np.float32,
    rows: tuple[int, int],
    labels: Int32Array,
    n_parts: int,
    with_sums: bool = True,
) -> Float32Array:
    """Assign the rows ``first::step`` in several threads; returns the sums of all threads, (S, 6) float32."""
    first, step = rows

    def run(start: int, stop: int) -> Float32Array:
        sums = np.zeros((len(centres) if with_sums else 0, 6), np.float32)
        start += (first - start) % step
        assign(planes, centres, reach, weight, start, stop, step, labels, sums)
        return sums

    parts: list[Float32Array] = run_in_parts(run, labels.shape[0], n_parts)
    total: Float32Array = np.sum(parts, axis=0, dtype=np.float32)
    return total


def _initial_centres(planes: Float32Array, region_size: int, find: Callable[..., None]) -> Float32Array:
    """Centres in a grid, each moved to the pixel of its 3x3 neighbourhood with the smallest gradient.

    Args:
        planes: (3, H, W) float32 colour.
        region_size: Distance of the centres in pixels.
        find: ``kernels.find_centres``, or the NumPy version of it.

    Returns:
        (S, 5) float32: colour, y, x.
    """
    height, width = planes.shape[1:]
    n_rows, n_columns = grid_shape(height, width, region_size)
    ys = ((np.arange(n_rows) + 0.5) * height / n_rows).astype(np.int32)
    xs = ((np.arange(n_columns) + 0.5) * width / n_columns).astype(np.int32)
    centres = np.empty((n_rows * n_columns, 5), np.float32)
    find(planes, ys, xs, centres)
    return centres


def _find_centres(planes: Float32Array, ys: Int32Array, xs: Int32Array, centres: Float32Array) -> None:
    """NumPy version of ``kernels.find_centres``."""
    height, width = planes.shape[1:]
    y, x = (grid.ravel() for grid in np.meshgrid(ys, xs, indexing='ij'))
    dy, dx = np.array([(dy, dx) for dy in (0, -1, 1) for dx in (0, -1, 1)]).T[:, :, None]
    y, x = (y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)
    flat = planes.reshape(3, -1)

    def colours(y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Float32Array:
        values: Float32Array = flat.take(y * width + x, axis=1)
        return values

    down = colours((y + 1).clip(max=height - 1), x) - colours((y - 1).clip(0), x)
    right = colours(y, (x + 1).clip(max=width - 1)) - colours(y, (x - 1).clip(0))
    best = (down**2 + right**2).sum(0).argmin(0)[None]
    y, x = np.take_along_axis(y, best, 0)[0], np.take_along_axis(x, best, 0)[0]
    centres[:] = np.column_stack([colours(y, x).T, y, x])


def _assign(
    planes: Float32Array,
    centres: Float32Array,
    reach: int,
    weight: np.float32,
    start: int,
    stop: int,
    step: int,
    labels: Int32Array,
    sums: Float32Array,
) -> None:
    """NumPy version of ``kernels.assign``."""
    rows = np.arange(start, stop, step)
    part = planes[:, rows]
    nearest = np.full(part.shape[1:], np.inf, np.float32)
    winner = labels[rows]
    columns = np.arange(labels.shape[1])
    for s, (*colour, y, x) in enumerate(centres):
        inside = np.flatnonzero(abs(rows - y) <= reach)
        left, right = max(int(x) - reach, 0), min(int(x) + reach + 1, labels.shape[1])
        if not inside.size:
            continue
        window = slice(inside[0], inside[-1] + 1), slice(left, right)
        offset = np.asarray(colour, np.float32)[:, None, None]
        distance = ((part[:, window[0], window[1]] - offset) ** 2).sum(0)
        distance += weight * (columns[left:right] - x) ** 2 + (weight * (rows[inside] - y) ** 2)[:, None]
        closer = distance < nearest[window]
        nearest[window][closer] = distance[closer]
        winner[window][closer] = s
    labels[rows] = winner
    if not sums.size:
        return
    y_of, x_of = np.broadcast_to(rows[:, None], winner.shape), np.broadcast_to(columns, winner.shape)
    for column, values in enumerate((*part, y_of, x_of, np.ones(winner.shape))):
        sums[:, column] += np.bincount(winner.ravel(), values.ravel(), len(centres)).astype(np.float32)
