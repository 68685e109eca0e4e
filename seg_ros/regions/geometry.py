"""What regions look like and what lies in them: neighbours, boxes, areas, means of what a network says."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg_ros.compiling import import_kernels, n_cores, run_in_parts
from seg_ros.decide import neighbours_1d
from seg_ros.errors import ImageError

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

KERNELS = (
    'seg_ros.regions.kernels',
    'superpixels and segments are computed by NumPy, which takes many times longer',
)


@dataclass(frozen=True)
class Regions:
    """A partition of an image.

    Attributes:
        ids: (H, W) int32, 0 .. n - 1, each id one connected part of the image.
        n: number of parts.
    """

    ids: Int32Array
    n: int


@dataclass(frozen=True)
class Borders:
    """Which regions touch.

    Attributes:
        pairs: (E, 2) int32, ids of two regions, the smaller first; each pair once.
        lengths: (E,) int32, pixel edges that they share.
    """

    pairs: Int32Array
    lengths: Int32Array


@dataclass(frozen=True)
class Shapes:
    """Where regions lie.

    Attributes:
        areas: (S,) int64, pixels.
        boxes: (S, 4) int32: top, left, bottom, right in pixels; the last two are exclusive.
        centroids: (S, 2) float64: x, y in pixels.
    """

    areas: npt.NDArray[np.int64]
    boxes: Int32Array
    centroids: npt.NDArray[np.float64]


def connected(labels: Int32Array) -> Regions:
    """The connected parts of equal labels, (H, W) int32."""
    kernels = import_kernels(*KERNELS)
    ids = np.empty_like(labels)
    return Regions(ids, int((kernels.connect if kernels else _connect)(labels, ids)))


def find_borders(regions: Regions) -> Borders:
    """Pairs of regions that share a pixel edge."""
    kernels = import_kernels(*KERNELS)
    if kernels is None:
        return _find_borders(regions)
    room = 3 * regions.n  # the graph of connected parts is planar, and has no more edges than that
    while True:
        pairs, lengths = np.empty((room, 2), np.int32), np.empty(room, np.int32)
        table = np.full(1 << (2 * room).bit_length(), -1, np.int32)
        count = kernels.neighbours(regions.ids, regions.n, table, pairs, lengths)
        if count >= 0:
            return Borders(pairs[:count], lengths[:count])
        room *= 4


def boundary(ids: Int32Array) -> npt.NDArray[np.bool_]:
    """Pixels of (H, W) ids whose right or lower neighbour has another id: (H, W) bool."""
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    edge[:-1] |= ids[1:] != ids[:-1]
    return edge


def describe(regions: Regions) -> Shapes:
    """Area, box and centroid of every region."""
    ids, n = regions.ids, regions.n
    boxes, sums = np.empty((n, 4), np.int32), np.zeros((n, 3), np.int64)
    kernels = import_kernels(*KERNELS)
    if kernels:
        kernels.describe(ids, n, boxes, sums)
    else:
        _describe(ids, boxes, sums)
    return Shapes(sums[:, 0], boxes, sums[:, :0:-1] / sums[:, :1])


def pool(values: Float32Array, regions: Regions, n_threads: int = 0) -> Float32Array:
    """Mean of each region's pixels of values that are interpolated bilinearly to the image's size.

    Args:
        values: (h, w, C) float32, such as the scores or the bits before the threshold.
        regions: of the image.
        n_threads: 0 = one for every core.

    Returns:
        (S, C) float32.

    Raises:
        ImageError: ``values`` have another shape or type.
    """
    if values.ndim != 3 or values.dtype != np.float32 or not values.size:
        raise ImageError(f'values are {values.shape} {values.dtype}; expected (h, w, C) float32')
    ids, kernels = regions.ids, import_kernels(*KERNELS)
    rows = neighbours_1d(values.shape[0], ids.shape[0])
    columns = neighbours_1d(values.shape[1], ids.shape[1])
    pool_rows = kernels.pool_rows if kernels else _pool_rows
    values = np.ascontiguousarray(values)

    def run(start: int, stop: int) -> Float32Array:
        sums = np.zeros((regions.n, values.shape[2]), np.float32)
        pool_rows(values, ids, rows, columns, start, stop, sums)
        return sums

    sums = np.sum(run_in_parts(run, ids.shape[0], n_threads or n_cores()), axis=0)
    counts = np.bincount(ids.ravel(), minlength=regions.n)[:, None]
    return np.asarray(sums / counts, np.float32)


def _find_borders(regions: Regions) -> Borders:
    ids = regions.ids
    touching = []
    for one, other in ((ids[:, 1:], ids[:, :-1]), (ids[1:], ids[:-1])):
        differs = one != other
        touching.append(np.sort(np.column_stack([one[differs], other[differs]]), axis=1))
    pairs, lengths = np.unique(np.concatenate(touching), axis=0, return_counts=True)
    return Borders(pairs.astype(np.int32), lengths.astype(np.int32))


def _describe(ids: Int32Array, boxes: Int32Array, sums: npt.NDArray[np.int64]) -> None:
    """What the compiled loop of this name does."""
    y, x = (np.asarray(grid) for grid in np.indices(ids.shape))
    flat = ids.ravel()
    boxes[:, :2], boxes[:, 2:] = max(ids.shape), 0
    for column, where in enumerate((y, x)):
        np.minimum.at(boxes[:, column], flat, where.ravel())
        np.maximum.at(boxes[:, column + 2], flat, where.ravel().astype(np.int32) + 1)
    for column, values in enumerate((np.ones_like(y), y, x)):
        np.add.at(sums[:, column], flat, values.ravel())


def _pool_rows(
    values: Float32Array,
    ids: Int32Array,
    rows: tuple[npt.NDArray[np.uint32], Float32Array],
    columns: tuple[npt.NDArray[np.uint32], Float32Array],
    start: int,
    stop: int,
    sums: Float32Array,
) -> None:
    """What the compiled loop of this name does."""
    above, below = rows[0][start:stop], rows[1][start:stop, None, None]
    left, right = columns[0], columns[1][:, None]
    next_row = np.minimum(above + 1, values.shape[0] - 1)
    next_column = np.minimum(left + 1, values.shape[1] - 1)
    wide = values[:, left] * (1 - right) + values[:, next_column] * right
    full = wide[above] * (1 - below) + wide[next_row] * below
    np.add.at(sums, ids[start:stop].ravel(), full.reshape(-1, values.shape[2]))


def _connect(labels: Int32Array, ids: Int32Array) -> int:
    """What the compiled loop of this name does."""
    roots, previous = np.arange(labels.size, dtype=np.int32).reshape(labels.shape), None
    same_left, same_above = labels[:, 1:] == labels[:, :-1], labels[1:] == labels[:-1]
    while previous is None or (roots != previous).any():
        previous = roots.copy()
        for here, there, same in (
            (roots[:, 1:], roots[:, :-1], same_left),
            (roots[1:], roots[:-1], same_above),
        ):
            lowest = np.minimum(here, there)
            np.minimum(here, lowest, out=here, where=same)
            np.minimum(there, lowest, out=there, where=same)
        roots = roots.ravel()[roots]  # every pixel knows a pixel that knows better
    starts, parts = np.unique(roots, return_inverse=True)
    ids[:] = parts.reshape(labels.shape)
    return len(starts)
