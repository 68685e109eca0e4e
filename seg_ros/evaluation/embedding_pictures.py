"""Pictures of embeddings: principal components as colours, and masks of the embedding filter.

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
"""Default number of pixels per image whose masks are shown."""

_PERCENTILES = 1, 99


class EmbeddingColours:
    """Colour of each embedding: its three principal components as red, green and blue.

    Colours that are fitted on several images mean the same in all of them. Each component is stretched to the
    full range, so weak ones are visible too; outliers beyond the 1st and 99th percentile are clipped.

    Attributes:
        mean_: (D,) float64, mean of all embeddings.
        components_: (3, D) float64, unit vectors, the strongest component first; 0 beyond the D-th.
        explained_variance_ratio_: (3,) float64, fraction of the variance along each component, 0..1.
        low_: (3,) float64, value that becomes 0.
        high_: (3,) float64, value that becomes 255.
    """

    def __init__(self) -> None:
        self.mean_: Float64Array
        self.components_: Float64Array
        self.explained_variance_ratio_: Float64Array
        self.low_: Float64Array
        self.high_: Float64Array

    def fit(self, embeddings: Sequence[Float32Array]) -> 'EmbeddingColours':
        """Fit the colours to the embeddings of one or more images, (D, h, w) float32 each."""
        vectors = np.concatenate([e.reshape(len(e), -1).T for e in embeddings]).astype(np.float64)
        self.mean_ = vectors.mean(0)
        centred = vectors - self.mean_
        variances, directions = np.linalg.eigh(centred.T @ centred)
        strongest = slice(None, -4, -1)
        n = min(3, len(variances))
        self.components_, self.explained_variance_ratio_ = np.zeros((3, len(variances))), np.zeros(3)
        self.components_[:n] = directions.T[strongest]
        self.explained_variance_ratio_[:n] = np.maximum(variances[strongest], 0) / max(variances.sum(), 1e-30)
        largest = np.abs(self.components_).argmax(1)
        self.components_[self.components_[range(3), largest] < 0] *= -1  # both signs are valid; choose one
        self.low_, self.high_ = np.percentile(centred @ self.components_.T, _PERCENTILES, axis=0)
        return self

    def transform(self, embeddings: Float32Array) -> UInt8Array:
        """Colour embeddings, (D, h, w) float32.

        Returns:
            (h, w, 3) uint8 RGB; 128 in a component without variance.
        """
        vectors = np.moveaxis(embeddings, 0, -1).astype(np.float64) - self.mean_
        span = self.high_ - self.low_
        flat = span <= 0
        values = (vectors @ self.components_.T - self.low_) / np.where(flat, 1, span)
        values[..., flat] = 0.5
        return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)

    def as_text(self) -> str:
        """Fraction of the variance in each colour, the largest first, in one line."""
        fractions = self.explained_variance_ratio_
        parts = zip(('red', 'green', 'blue'), fractions, strict=True)
        listed = ', '.join(f'{name} {fraction:.0%}' for name, fraction in parts)
        return f'three components hold {fractions.sum():.0%} of the variance: {listed}'


@dataclass(frozen=True)
class Spot:
    """A pixel whose mask is shown.

    Attributes:
        x: Column of the pixel in the network's input.
        y: Row of the pixel in the network's input.
        row: Row of its embedding.
        column: Column of its embedding.
    """

    x: int
    y: int
    row: int
    column: int


def spots_at(pixels: Sequence[int], model: EmbeddedModel) -> list[Spot]:
    """Find the embeddings of chosen pixels.

    Args:
        pixels: x, y, x, y, ... of the pixels in the network's input.
        model: Model whose masks are shown.

    Raises:
        ParameterError: The last y is missing, or a pixel lies outside the network's input.
    """
    if len(pixels) % 2:
        raise ParameterError(f'--at got {len(pixels)} numbers; expected pairs, X Y for each pixel')
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
    """Choose pixels near borders of classes, spread over the image.

    The best pixels have half their window in their own class and all their neighbours in it, because an
    embedding right on a border mixes both sides. Pixels near chosen ones, and pixels of their classes, rank
    lower. Pixels whose window crosses the border of the image are left out.

    Args:
        view: The image.
        window: Window of the filter in embeddings.
        stride: Number of pixels from one embedding to the next.
        n: Maximum number of pixels.

    Returns:
        Up to n pixels; the pixel in the middle if all labels are equal.
    """
    height, width = view.embeddings.shape[1:]
    labels = nearest(view.plain, (height, width))
    own = _own_class_fraction(labels, window)
    worth = own * (1 - own) * _own_class_fraction(labels, 3) ** 2
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
    """Compute the weight of each embedding in the filter's average at a pixel.

    Args:
        embeddings: (D, h, w) float32.
        spot: The pixel.
        hardness: Decrease of the weight with the distance of the embeddings.
        window: Width and height of the window in embeddings, odd.

    Returns:
        (h, w) float64, exp(-hardness * L1 distance): 1 at the pixel, 0 outside the window.
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


def _own_class_fraction(labels: UInt8Array, window: int) -> Float64Array:
    """Fraction of the window around each pixel, cut off at the border, that has the label of the pixel."""

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
