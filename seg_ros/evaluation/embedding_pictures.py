"""What is shown of embeddings: their main components as colours, and masks of the filter that they drive.

A. Harley, K. Derpanis, I. Kokkinos, "Learning dense convolutional embeddings for semantic segmentation",
arXiv 1511.04377, shows both: embeddings by principal components, and the mask of a pixel over its window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float32Array, Float64Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.evaluation.embedding_views import EmbeddedModel, View, nearest

N_SPOTS = 6
"""Pixels of an image whose masks are shown, if nobody chose others."""

_PERCENTILES = 1, 99


class EmbeddingColours:
    """A colour for each embedding: its three main components as red, green and blue.

    What is fitted on several images gives the same colour to the same embedding in all of them. Each
    component is stretched by itself, so that the weak ones are seen too; a few outliers are cut off.

    Attributes:
        mean_: (D,) float64.
        components_: (3, D) float64, of unit length, the strongest first; 0 beyond the D-th.
        shares_: (3,) float64, 0..1, of the variance.
        low_: (3,) float64, what becomes 0.
        high_: (3,) float64, what becomes 255.
    """

    def __init__(self) -> None:
        self.mean_: Float64Array
        self.components_: Float64Array
        self.shares_: Float64Array
        self.low_: Float64Array
        self.high_: Float64Array

    def fit(self, embeddings: Sequence[Float32Array]) -> 'EmbeddingColours':
        """Learn from the (D, h, w) float32 embeddings of images, at least one."""
        vectors = np.concatenate([e.reshape(len(e), -1).T for e in embeddings]).astype(np.float64)
        self.mean_ = vectors.mean(0)
        centred = vectors - self.mean_
        variances, directions = np.linalg.eigh(centred.T @ centred)
        strongest = slice(None, -4, -1)
        n = min(3, len(variances))
        self.components_, self.shares_ = np.zeros((3, len(variances))), np.zeros(3)
        self.components_[:n] = directions.T[strongest]
        self.shares_[:n] = np.maximum(variances[strongest], 0) / max(variances.sum(), 1e-30)
        largest = np.abs(self.components_).argmax(1)
        self.components_[self.components_[range(3), largest] < 0] *= -1  # either sign is as good
        self.low_, self.high_ = np.percentile(centred @ self.components_.T, _PERCENTILES, axis=0)
        return self

    def transform(self, embeddings: Float32Array) -> UInt8Array:
        """(h, w, 3) uint8 RGB of (D, h, w) float32; grey in a component that is the same everywhere."""
        vectors = np.moveaxis(embeddings, 0, -1).astype(np.float64) - self.mean_
        span = self.high_ - self.low_
        flat = span <= 0
        values = (vectors @ self.components_.T - self.low_) / np.where(flat, 1, span)
        values[..., flat] = 0.5
        return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)

    def as_text(self) -> str:
        """What the colours hold of the variance, the strongest first."""
        parts = zip(('red', 'green', 'blue'), self.shares_, strict=True)
        listed = ', '.join(f'{name} {share:.0%}' for name, share in parts)
        return f'three components hold {self.shares_.sum():.0%} of the variance: {listed}'


@dataclass(frozen=True)
class Spot:
    """A pixel whose mask is shown.

    Attributes:
        x: of the pixel of the network's input.
        y: of the pixel of the network's input.
        row: of its embedding.
        column: of its embedding.
    """

    x: int
    y: int
    row: int
    column: int


def spots_at(pixels: Sequence[int], model: EmbeddedModel) -> list[Spot]:
    """Chosen pixels: x, y, x, y, ...

    Raises:
        ParameterError: a y is missing, or a pixel lies outside the network's input.
    """
    if len(pixels) % 2:
        raise ParameterError(f'--at got {len(pixels)} numbers; expected pairs, X Y of each pixel')
    height, width = model.size
    stride = model.embedding_metadata.stride
    spots = []
    for x, y in zip(pixels[::2], pixels[1::2], strict=True):
        if not (0 <= x < width and 0 <= y < height):
            raise ParameterError(
                f'--at {x} {y} lies outside the image; the network sees {width} x {height} pixels, so '
                f'expected X in 0..{width - 1} and Y in 0..{height - 1}'
            )
        spots.append(
            Spot(x, y, min(y // stride, height // stride - 1), min(x // stride, width // stride - 1))
        )
    return spots


def choose_spots(view: View, window: int, stride: int, n: int = N_SPOTS) -> list[Spot]:
    """Pixels where the filter has something to keep apart, spread over the image.

    Those are worth most whose window has as much of their own class as of others, while their neighbours are
    of their own: an embedding right on an edge stands between both sides. The next one is worth less near
    those that were chosen, and on their classes. Windows that the border cuts off are left out.

    Args:
        view: of the image.
        window: of the filter, in embeddings.
        stride: pixels from one embedding to the next.
        n: as many, or fewer; the pixel in the middle where all is one class.
    """
    height, width = view.embeddings.shape[1:]
    labels = nearest(view.plain, (height, width))
    own = _share_of_own_class(labels, window)
    worth = own * (1 - own) * _share_of_own_class(labels, 3) ** 2
    radius = min(window // 2, (min(height, width) - 1) // 2)
    inner = np.zeros_like(labels, bool)
    inner[radius : height - radius, radius : width - radius] = True
    worth[~inner] = 0
    rows, columns = np.mgrid[:height, :width]
    spacing = height * width / n
    cells: list[tuple[int, int]] = []
    while len(cells) < n and worth.max() > 0:
        row, column = divmod(int(worth.argmax()), width)
        cells.append((row, column))
        distance = (rows - row) ** 2 + (columns - column) ** 2
        worth = worth * (1 - np.exp(-2 * distance / spacing))
        worth[labels == labels[row, column]] *= 0.7
    half = stride // 2
    return [Spot(c * stride + half, r * stride + half, r, c) for r, c in cells or [(height // 2, width // 2)]]


def mask_at(embeddings: Float32Array, spot: Spot, hardness: float, window: int) -> Float64Array:
    """How much each pixel counts in the filter's average at one.

    Args:
        embeddings: (D, h, w) float32.
        spot: which pixel.
        hardness: how fast a pixel's weight falls with the distance of its embedding.
        window: width and height in embeddings, odd.

    Returns:
        (h, w) float64: exp(-hardness * L1 distance), which is 1 at the pixel; 0 outside the window.
    """
    inside = window_of(spot, window, embeddings.shape[1:])
    near = embeddings[(slice(None), *inside)].astype(np.float64)
    distance = np.abs(near - embeddings[:, spot.row, spot.column, None, None]).sum(0)
    mask = np.zeros(embeddings.shape[1:])
    mask[inside] = np.exp(-hardness * distance)
    return mask


def window_of(spot: Spot, window: int, shape: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of the window around a pixel's embedding, cut off at the border of a map (h, w)."""
    radius = window // 2
    rows, columns = (
        slice(max(k - radius, 0), min(k + radius + 1, n))
        for k, n in zip((spot.row, spot.column), shape, strict=True)
    )
    return rows, columns


def _share_of_own_class(labels: UInt8Array, window: int) -> Float64Array:
    """Of the window around each pixel, cut off at the border, the part that has the pixel's own label."""

    def count(mask: npt.NDArray[np.bool_]) -> Float64Array:
        kernel = (window, window)
        counts = cv2.boxFilter(
            mask.astype(np.float64), -1, kernel, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        return np.rint(counts)

    own = np.zeros(labels.shape)
    for label in np.unique(labels):
        mask = labels == label
        own[mask] = count(mask)[mask]
    return own / count(np.ones(labels.shape, bool))
