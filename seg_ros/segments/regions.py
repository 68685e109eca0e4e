"""Region geometry and pooling: borders, areas, boxes and centroids of regions, and mean values over them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seg_ros._numba import import_kernels, n_cores, run_in_parts
from seg_ros.arrays import Float32Array, Int32Array, blocks_of, map_shape, unfolded
from seg_ros.errors import ImageError
from seg_ros.images.interpolation import neighbours_1d
from seg_ros.segments.run_lengths import Runs, touching_runs
from seg_ros.segments.union_find import connected_components

KERNELS = (
    'seg_ros.segments.kernels',
    'superpixels and segments are computed by NumPy, which takes many times longer',
)


_MAX_SUMS = 1 << 24


@dataclass(frozen=True)
class Regions:
    """Partition of an image into regions.

    Attributes:
        partition: (H, W) int32, 0 .. n - 1, region of each pixel, or the runs of such an image. Regions are
            connected.
        n: Number of regions.
    """

    partition: Int32Array | Runs
    n: int

    @cached_property
    def ids(self) -> Int32Array:
        """(H, W) int32, region of each pixel."""
        given = self.partition
        return given.spread(given.ids) if isinstance(given, Runs) else given

    @cached_property
    def runs(self) -> Runs:
        """Runs of the ids."""
        return self.partition if isinstance(self.partition, Runs) else Runs.of(self.partition)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.runs.shape

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of pixels of each region, (n,) int64."""
        return np.bincount(self.runs.ids, self.runs.lengths, self.n).astype(np.int64)

    def renamed(self, of_region: Int32Array, n: int) -> 'Regions':
        """Regions that consist of these regions.

        Args:
            of_region: (n,) int32, new region of each region.
            n: Number of new regions.
        """
        return Regions(self.runs.renamed(of_region[self.runs.ids]), n)


@dataclass(frozen=True)
class Borders:
    """Borders between regions.

    Attributes:
        pairs: (E, 2) int32, ids of the two regions, the smaller first; each pair once.
        lengths: (E,) int32, number of pixel edges that the two regions share.
    """

    pairs: Int32Array
    lengths: Int32Array


@dataclass(frozen=True)
class Shapes:
    """Areas and positions of regions.

    Attributes:
        areas: (S,) int64, number of pixels.
        boxes: (S, 4) int32: top, left, bottom, right in pixels; the last two are exclusive.
        centroids: (S, 2) float64: x, y in pixels.
    """

    areas: npt.NDArray[np.int64]
    boxes: Int32Array
    centroids: npt.NDArray[np.float64]


def connected_parts(labels: Int32Array) -> Regions:
    """Connected parts of equal labels, (H, W) int32, numbered in the order of their first pixels."""
    runs = Runs.of(labels)
    alike, _, _ = touching_runs(runs.rows, runs.starts, runs.ids)
    of_run, n = connected_components(len(runs.ids), alike)
    return Regions(runs.renamed(of_run), n)


def find_borders(regions: Regions) -> Borders:
    """Borders between regions that share pixel edges."""
    kernels = import_kernels(*KERNELS)
    if kernels is None:
        return _find_borders(regions)
    runs = regions.runs
    _, unlike, lengths_of_runs = touching_runs(runs.rows, runs.starts, runs.ids)
    room = 3 * regions.n  # enough for connected regions, whose graph is planar
    while True:
        pairs, lengths = np.empty((room, 2), np.int32), np.empty(room, np.int32)
        table = np.full(1 << (2 * room).bit_length(), -1, np.int32)
        count = kernels.count_borders(unlike, lengths_of_runs, runs.ids, table, pairs, lengths)
        if count >= 0:
            return Borders(pairs[:count], lengths[:count])
        room *= 4


def boundary(ids: Int32Array) -> npt.NDArray[np.bool_]:
    """Mask, (H, W) bool, of the pixels whose right or lower neighbour has another id."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edge[:-1] |= ids[1:] != ids[:-1]
    return edge


def region_shapes(regions: Regions) -> Shapes:
    """Area, box and centroid of every region."""
    runs = regions.runs
    boxes, sums = np.empty((regions.n, 4), np.int32), np.zeros((regions.n, 3), np.int64)
    kernels = import_kernels(*KERNELS)
    (kernels.sum_shapes if kernels else _sum_shapes)(runs.rows, runs.starts, runs.ids, boxes, sums)
    return Shapes(sums[:, 0], boxes, sums[:, :0:-1] / sums[:, :1])


def region_means(values: Float32Array, regions: Regions, n_threads: int = 0) -> Float32Array:
    """Mean values over the pixels of each region, after bilinear interpolation to the size of the image.

    Args:
        values: (h, w, C) float32, such as scores or the logits of bits.
        regions: Regions of the image.
        n_threads: Number of threads, 0 = one per core.

    Returns:
        (S, C) float32.

    Raises:
        ImageError: ``values`` has another shape or type.
    """
    if values.ndim != 3 or values.dtype != np.float32 or not values.size:
        raise ImageError(
            f'values have shape {values.shape} and type {values.dtype}; expected (h, w, C) float32'
        )
    runs, (height, width), n_channels = regions.runs, regions.shape, values.shape[2]
    rows, columns = neighbours_1d(values.shape[0], height), neighbours_1d(values.shape[1], width)
    values, kernels = np.ascontiguousarray(values), import_kernels(*KERNELS)

    def add(start: int, stop: int, sums: Float32Array) -> None:
        if kernels is None:
            _pool_rows(values, regions.ids, rows, columns, start, stop, sums)
        elif values.shape[:2] == regions.shape:
            first, last = runs.rows[start], runs.rows[stop]
            kernels.pool_pixels(values.ravel(), runs.starts, runs.ids, n_channels, first, last, sums)
        else:
            of_rows = runs.rows, runs.starts, runs.ids
            kernels.pool_rows(values, of_rows, rows, columns, start, stop, sums)

    return _means_of_sums(add, regions, n_channels, n_threads)


def score_means(scores: Float32Array, regions: Regions, n_threads: int = 0) -> Float32Array:
    """Mean scores over the pixels of each region, as :func:`region_means`.

    Args:
        scores: (K, h, w) float32, or folded, see :func:`seg_ros.arrays.unfolded`.
        regions: Regions of the image.
        n_threads: Number of threads, 0 = one per core.

    Returns:
        (S, K) float32.
    """
    kernels, blocks = import_kernels(*KERNELS), blocks_of(scores)
    if kernels is None or blocks is None or map_shape(scores)[1:] != regions.shape:
        return region_means(np.ascontiguousarray(unfolded(scores).transpose(1, 2, 0)), regions, n_threads)
    runs, lines = regions.runs, blocks.reshape(len(blocks), -1)

    def add(start: int, stop: int, sums: Float32Array) -> None:
        kernels.pool_blocks(lines, runs.rows, runs.starts, runs.ids, start, stop, sums)

    return _means_of_sums(add, regions, len(scores), n_threads)


def _means_of_sums(
    add: Callable[[int, int, Float32Array], None], regions: Regions, n_channels: int, n_threads: int
) -> Float32Array:
    """Means over regions, (S, C) float32, of values that ``add`` sums up for the rows from one to another."""

    def run(start: int, stop: int) -> Float32Array:
        sums = np.zeros((regions.n, n_channels), np.float32)
        add(start, stop, sums)
        return sums

    n_parts = parts_for(n_threads, regions.n * n_channels)
    sums = np.sum(run_in_parts(run, regions.shape[0], n_parts), axis=0)
    return np.asarray(sums / regions.sizes[:, None], np.float32)


def parts_for(n_threads: int, n_sums: int) -> int:
    """Number of threads whose sums together stay within a bound of memory, 1 or more.

    Args:
        n_threads: Number of threads asked for, 0 = one per core.
        n_sums: Number of float32 sums that each thread holds.
    """
    return min(n_threads or n_cores(), max(_MAX_SUMS // max(n_sums, 1), 1))


def _find_borders(regions: Regions) -> Borders:
    """NumPy version of :func:`find_borders`."""
    ids = regions.ids
    touching = []
    for one, other in ((ids[:, 1:], ids[:, :-1]), (ids[1:], ids[:-1])):
        differs = one != other
        touching.append(np.sort(np.column_stack([one[differs], other[differs]]), axis=1))
    pairs, lengths = np.unique(np.concatenate(touching), axis=0, return_counts=True)
    return Borders(pairs.astype(np.int32), lengths.astype(np.int32))


def _sum_shapes(
    rows: Int32Array, starts: Int32Array, ids: Int32Array, boxes: Int32Array, sums: npt.NDArray[np.int64]
) -> None:
    """NumPy version of ``kernels.sum_shapes``."""
    y = np.repeat(np.arange(len(rows) - 1), np.diff(rows))
    left, right = starts[:-1] - y * starts[rows[1]], starts[1:] - y * starts[rows[1]]
    boxes[:, :2], boxes[:, 2:] = starts[-1], 0
    for column, where in enumerate((y, left)):
        np.minimum.at(boxes[:, column], ids, where)
    for column, where in enumerate((y + 1, right), 2):
        np.maximum.at(boxes[:, column], ids, where)
    lengths = right - left
    for column, values in enumerate((lengths, lengths * y, lengths * (left + right - 1) // 2)):
        np.add.at(sums[:, column], ids, values)


def _pool_rows(
    values: Float32Array,
    ids: Int32Array,
    rows: tuple[npt.NDArray[np.uint32], Float32Array],
    columns: tuple[npt.NDArray[np.uint32], Float32Array],
    start: int,
    stop: int,
    sums: Float32Array,
) -> None:
    """NumPy version of ``kernels.pool_rows``."""
    above, below = rows[0][start:stop], rows[1][start:stop, None, None]
    left, right = columns[0], columns[1][:, None]
    next_row = np.minimum(above + 1, values.shape[0] - 1)
    next_column = np.minimum(left + 1, values.shape[1] - 1)
    wide = values[:, left] * (1 - right) + values[:, next_column] * right
    full = wide[above] * (1 - below) + wide[next_row] * below
    np.add.at(sums, ids[start:stop].ravel(), full.reshape(-1, values.shape[2]))
