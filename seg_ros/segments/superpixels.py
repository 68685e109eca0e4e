"""Superpixels: small connected regions of like colour.

SLIC: R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", 2012. Deliberate
differences: the first iterations look at every second row only, and a small part is joined to the neighbour
of the most similar colour, not to the one before.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.errors import ImageError, ParameterError
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.merging import join_small
from seg_ros.segments.regions import KERNELS, Regions
from seg_ros.segments.run_lengths import Runs, connect, touching
from seg_ros.segments.seeds import N_LEVELS, count_colours, exchange_blocks, exchange_pixels, quantise


def blocks(
    image: UInt8Array,
    *,
    region_size: int = 20,
    n_threads: int = 0,
    planes: Float32Array | None = None,
) -> Regions:
    """Rectangles of about ``region_size`` pixels each way, whatever the image shows.

    Args:
        image: (H, W, 3) uint8.
        region_size: in pixels, 2 or more.
        n_threads, planes: not used; here so that all superpixels are called alike.
    """
    _check(image, region_size)
    height, width = image.shape[:2]
    n_rows, n_columns = _grid(height, width, region_size)
    rows, columns = np.arange(height) * n_rows // height, np.arange(width) * n_columns // width
    ids = (rows[:, None] * n_columns + columns).astype(np.int32)
    return Regions(ids, n_rows * n_columns)


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
        region_size: distance of the centres at the start in pixels, 2 or more.
        compactness: what a distance of ``region_size`` pixels counts against one in 8-bit CIELAB colour.
        n_iterations: of the assignment of pixels to centres, 1 or more.
        min_size: connected parts smaller than this share of ``region_size`` squared join another one.
        n_threads: 0 = one for every core.
        planes: the image from ``lab_planes``, if that is known.

    Returns:
        The superpixels; one where the image is smaller than a region.

    Raises:
        ImageError: the image has another shape or type.
        ParameterError: an argument is out of range.
    """
    _check(image, region_size, n_iterations, min_size)
    if compactness <= 0 or n_threads < 0:
        raise ParameterError(
            f'compactness {compactness}, n_threads {n_threads}; expected more than 0, 0 or more'
        )
    planes = lab_planes(image) if planes is None else planes
    centres = _seed(planes, region_size)
    labels = np.zeros(image.shape[:2], np.int32)
    weight = np.float32((compactness / region_size) ** 2)
    kernels = import_kernels(*KERNELS)
    assign = kernels.assign if kernels else _assign
    n_parts = n_threads or n_cores()
    for iteration in range(n_iterations - 1):
        rows = iteration % 2, 2
        sums = _assign_in_parts(assign, planes, centres, region_size, weight, rows, labels, n_parts)
        filled = sums[:, 5] > 0
        centres[filled] = sums[filled, :5] / sums[filled, 5:]
    _assign_in_parts(assign, planes, centres, region_size, weight, (0, 1), labels, n_parts, False)
    return _cleaned(labels, planes, round(min_size * region_size**2))


def seeds(
    image: UInt8Array,
    *,
    region_size: int = 20,
    n_iterations: int = 4,
    min_size: float = 0.25,
    n_threads: int = 0,
    planes: Float32Array | None = None,
) -> Regions:
    """SEEDS superpixels, see ``seg_ros.segments.seeds``.

    Args:
        image: (H, W, 3) uint8 RGB.
        region_size: side of the blocks that superpixels begin as, in pixels, 2 or more.
        n_iterations: at each size of the pieces, 1 or more.
        min_size: connected parts smaller than this share of ``region_size`` squared join another one.
        n_threads: not used; here so that all superpixels are called alike.
        planes: the image from ``lab_planes``, if that is known.

    Raises:
        ImageError: the image has another shape or type.
        ParameterError: an argument is out of range.
    """
    import_kernels(*KERNELS)  # warns where loops run uncompiled
    _check(image, region_size, n_iterations, min_size)
    start = blocks(image, region_size=region_size)
    planes, labels = lab_planes(image) if planes is None else planes, start.ids.copy()
    bins = quantise(planes)
    histograms = np.zeros((start.n, N_LEVELS**3), np.float32)
    sizes = np.zeros(start.n, np.float32)
    count_colours(bins, labels, histograms, sizes)
    block = region_size // 2
    while block > 1:
        for _ in range(n_iterations):
            exchange_blocks(bins, labels, block, histograms, sizes)
        block //= 2
    for _ in range(n_iterations):
        exchange_pixels(bins, labels, histograms, sizes)
    return _cleaned(labels, planes, round(min_size * region_size**2))


def _cleaned(labels: Int32Array, planes: Float32Array, min_size: int) -> Regions:
    """The connected parts of equal labels, small ones joined to the neighbour of the likest colour."""
    kernels, runs = import_kernels(*KERNELS), Runs.of(labels)
    alike, unlike, _ = touching(runs.rows, runs.starts, runs.ids)
    of_run, n = connect(len(runs.ids), alike)
    sums, sizes = np.zeros((n, 3), np.float32), np.zeros(n, np.int32)
    sum_planes = kernels.sum_planes if kernels else _sum_planes
    sum_planes(planes.reshape(3, -1), runs.starts, of_run, sums, sizes)
    of_part, n = join_small(unlike, of_run, sizes, sums, min_size)
    return Regions.of(runs.renamed(of_part[of_run]), n)


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
    """One iteration over the rows ``first::step``; the sums of all threads."""
    first, step = rows

    def run(start: int, stop: int) -> Float32Array:
        sums = np.zeros((len(centres) if with_sums else 0, 6), np.float32)
        start += (first - start) % step
        assign(planes, centres, reach, weight, start, stop, step, labels, sums)
        return sums

    parts: list[Float32Array] = run_in_parts(run, labels.shape[0], n_parts)
    total: Float32Array = np.sum(parts, axis=0, dtype=np.float32)
    return total


def _grid(height: int, width: int, region_size: int) -> tuple[int, int]:
    return max(round(height / region_size), 1), max(round(width / region_size), 1)


def _seed(planes: Float32Array, region_size: int) -> Float32Array:
    """Centres in a grid, each moved to where the colour changes least in its 3x3 neighbourhood: (S, 5)."""
    height, width = planes.shape[1:]
    n_rows, n_columns = _grid(height, width, region_size)
    ys = ((np.arange(n_rows) + 0.5) * height / n_rows).astype(np.intp)
    xs = ((np.arange(n_columns) + 0.5) * width / n_columns).astype(np.intp)
    y, x = (grid.ravel() for grid in np.meshgrid(ys, xs, indexing='ij'))
    dy, dx = np.array([(dy, dx) for dy in (0, -1, 1) for dx in (0, -1, 1)]).T[:, :, None]
    y, x = (y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)
    flat = planes.reshape(3, -1)

    def colours(y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]) -> Float32Array:
        found: Float32Array = flat.take(y * width + x, axis=1)
        return found

    down = colours((y + 1).clip(max=height - 1), x) - colours((y - 1).clip(0), x)
    right = colours(y, (x + 1).clip(max=width - 1)) - colours(y, (x - 1).clip(0))
    best = (down**2 + right**2).sum(0).argmin(0)[None]
    y, x = np.take_along_axis(y, best, 0)[0], np.take_along_axis(x, best, 0)[0]
    return np.column_stack([colours(y, x).T, y, x]).astype(np.float32)


def _check(image: UInt8Array, region_size: int, n_iterations: int = 1, min_size: float = 0) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(f'an image is {image.shape} {image.dtype}; expected (H, W, 3) uint8 RGB')
    if region_size < 2:
        raise ParameterError(f'region_size is {region_size}; expected 2 pixels or more')
    if n_iterations < 1 or min_size < 0:
        raise ParameterError(
            f'n_iterations {n_iterations}, min_size {min_size}; expected 1 or more, 0 or more'
        )


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
    """What the compiled loop of this name does."""
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


def _sum_planes(
    planes: Float32Array, starts: Int32Array, ids: Int32Array, sums: Float32Array, sizes: Int32Array
) -> None:
    """What the compiled loop of this name does."""
    of_pixel = np.repeat(ids, np.diff(starts))
    for column, plane in enumerate(planes):
        sums[:, column] += np.bincount(of_pixel, plane, len(sums)).astype(np.float32)
    sizes += np.bincount(of_pixel, minlength=len(sizes)).astype(np.int32)
