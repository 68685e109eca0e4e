"""Descriptors of frames: short vectors that are close together for frames that look alike.

A descriptor has three blocks over a coarse grid of cells: fractions of the predicted classes, mean colours,
and directions of edges. Fractions are under square roots, so that their Euclidean distance is that of
Hellinger. Each block of each frame has a length of about 1, so that no block outweighs the others.
"""

import cv2
import numpy as np

from seg_ros.arrays import Float32Array, Int64Array, UInt8Array
from seg_ros.errors import ImageError

_CLASS_CELLS, _CELLS = (2, 3), (3, 4)
_SMALL = (48, 72)
_N_DIRECTIONS = 4
_LAB_SCALE = 64.0
"""Difference of lightness or colour, in 8-bit steps of Lab, that counts as 1."""


def n_values(n_classes: int) -> int:
    """Number of values of a descriptor, for a number of classes."""
    n_cells = _CELLS[0] * _CELLS[1]
    return _CLASS_CELLS[0] * _CLASS_CELLS[1] * (n_classes + 1) + n_cells * (3 + _N_DIRECTIONS)


def describe_frame(image: UInt8Array, labels: UInt8Array, n_classes: int) -> Float32Array:
    """Descriptor of a frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, predicted class ids; values without a class are unlabelled.
        n_classes: Number of classes, K.

    Returns:
        (D,) float32 of finite values, with D = n_values(K).

    Raises:
        ImageError: The sizes differ.
    """
    if image.ndim != 3 or image.shape[:2] != labels.shape:
        raise ImageError(f'image is {image.shape}, labels are {labels.shape}; expected one size')
    small = cv2.resize(_thinned(image), _SMALL[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    blocks = [_class_fractions(labels, n_classes), _colours(lab), _directions(lab[..., 0])]
    return np.concatenate(blocks).astype(np.float32)


def _thinned(image: UInt8Array) -> UInt8Array:
    """Every k-th pixel each way, of at least twice the small size; averaging all pixels takes longer."""
    step = max(min(image.shape[0] // (2 * _SMALL[0]), image.shape[1] // (2 * _SMALL[1])), 1)
    return np.ascontiguousarray(image[step // 2 :: step, step // 2 :: step])


def _class_fractions(labels: UInt8Array, n_classes: int) -> Float32Array:
    """Square roots of the class fractions of each cell."""
    small = cv2.resize(np.ascontiguousarray(labels), _SMALL[::-1], interpolation=cv2.INTER_NEAREST)
    ids = np.minimum(small, n_classes).astype(np.int64)
    cells = _cell_of_pixel(_CLASS_CELLS)
    n_cells = _CLASS_CELLS[0] * _CLASS_CELLS[1]
    counts = np.bincount((cells * (n_classes + 1) + ids).ravel(), minlength=n_cells * (n_classes + 1))
    return np.asarray(np.sqrt(counts / ids.size), np.float32)


def _colours(lab: Float32Array) -> Float32Array:
    """Mean colour of each cell; grey is near 0."""
    means = _cell_means(lab)
    scale = _LAB_SCALE * np.sqrt(len(means))
    return np.asarray((means - 128).ravel() / scale, np.float32)


def _directions(lightness: Float32Array) -> Float32Array:
    """Strength of the edges of each cell by direction; the whole has length 1 unless the image is flat."""
    across, down = (cv2.Sobel(lightness, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    angle = np.arctan2(down, across) % np.pi
    direction = np.minimum((angle * (_N_DIRECTIONS / np.pi)).astype(np.int64), _N_DIRECTIONS - 1)
    parts = np.where(direction[..., None] == np.arange(_N_DIRECTIONS), strength[..., None], 0)
    values = np.sqrt(_cell_means(parts.astype(np.float32))).ravel()
    length = np.sqrt((values**2).sum())
    return np.asarray(values / max(float(length), 1e-6), np.float32)


def _cell_means(values: Float32Array) -> Float32Array:
    """Means of (h, w, C) values over the cells of the grid, (cells, C) float32."""
    rows, columns = _CELLS
    height, width = _SMALL[0] // rows, _SMALL[1] // columns
    parts = values.reshape(rows, height, columns, width, -1)
    return np.asarray(parts.mean((1, 3)).reshape(rows * columns, -1), np.float32)


def _cell_of_pixel(cells: tuple[int, int]) -> Int64Array:
    """Cell of each pixel of the small image, (h, w) int64."""
    rows = np.arange(_SMALL[0]) * cells[0] // _SMALL[0]
    columns = np.arange(_SMALL[1]) * cells[1] // _SMALL[1]
    return rows[:, None] * cells[1] + columns
