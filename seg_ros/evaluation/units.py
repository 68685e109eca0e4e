"""Statistics of the units of a layer: strongest responses, means, correlations with another network.

The strongest responses follow M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks",
ECCV 2014. Deliberate difference: only the maximum of each image counts, so the nine peaks of a unit come from
nine images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.evaluation.deconvnet import layer_maps
from seg_ros.images.resize import resize_image
from seg_ros.networks.image_network import ImageNetwork


@dataclass(frozen=True)
class Peak:
    """Strongest response of a unit to an image.

    Attributes:
        value: Value of the activation.
        image: Index of the image in the order of showing.
        row: Row in the map of the layer.
        column: Column in the map of the layer.
    """

    value: float
    image: int
    row: int
    column: int


class UnitRecord:
    """Statistics of the units of a layer, updated image by image in constant memory.

    Args:
        n_peaks: Number of peaks to keep for each unit.

    Attributes:
        n_images: Number of images so far.
        mean: (C,) float64, mean of all activations of each unit.
        sparsity: (C,) float64, fraction of each unit's activations that are 0 or less.
    """

    def __init__(self, n_peaks: int) -> None:
        self.n_peaks, self.n_images, self._n_values = n_peaks, 0, 0
        self.mean = self.sparsity = self._squares = np.zeros(0)
        self._values = np.zeros((0, 0))
        self._places = np.zeros((0, 0, 3), np.int64)

    @property
    def std(self) -> Float64Array:
        """(C,) float64, standard deviation of all activations of each unit."""
        return np.sqrt(self._squares / max(self._n_values, 1))

    def add(self, maps: Tensor) -> None:
        """Add the maps of the next image, (C, h, w) float."""
        n_units, _, width = maps.shape
        if not self.n_images:
            self.mean, self.sparsity, self._squares = (np.zeros(n_units) for _ in range(3))
            self._values, self._places = np.zeros((n_units, 0)), np.zeros((n_units, 0, 3), np.int64)
        flat = maps.detach().flatten(1)
        self._count(flat.double())
        largest, index = flat.max(1)
        at = index.cpu().numpy()
        place = np.stack([np.full_like(at, self.n_images), at // width, at % width], axis=1)
        values = np.concatenate([self._values, largest.cpu().numpy()[:, None]], axis=1)
        places = np.concatenate([self._places, place[:, None]], axis=1)
        order = np.argsort(-values, axis=1, kind='stable')[:, : self.n_peaks]
        self._values = np.take_along_axis(values, order, 1)
        self._places = np.take_along_axis(places, order[..., None], 1)
        self.n_images += 1

    def peaks(self, unit: int) -> list[Peak]:
        """Largest peaks of a unit, one per image, the largest first."""
        pairs = zip(self._values[unit], self._places[unit], strict=True)
        return [Peak(float(value), *(int(k) for k in place)) for value, place in pairs]

    def _count(self, flat: Tensor) -> None:
        """Update mean and squared deviations as Chan, Golub and LeVeque (1979) combine two samples."""
        n_new, n_old = flat.shape[1], self._n_values
        mean = flat.mean(1)
        squares = (flat - mean[:, None]).square().sum(1).cpu().numpy()
        step = mean.cpu().numpy() - self.mean
        self._n_values = n_old + n_new
        fraction = n_new / self._n_values
        self._squares = self._squares + squares + step**2 * n_old * fraction
        self.mean = self.mean + step * fraction
        silent = (flat <= 0).double().mean(1).cpu().numpy()
        self.sparsity = self.sparsity + (silent - self.sparsity) * fraction


class Correlation:
    """Pearson's correlation of each unit of one layer with each unit of another, updated image by image."""

    def __init__(self) -> None:
        self._n_values = 0
        self._means = [np.zeros(0), np.zeros(0)]
        self._products: list[Float64Array] = []

    def add(self, one: Tensor, other: Tensor) -> None:
        """Add two layers' maps of the next image, (C, h, w) and (D, h', w') float.

        If the sizes differ, the maps of the second layer are interpolated.
        """
        if other.shape[1:] != one.shape[1:]:
            other = F.interpolate(other[None], one.shape[1:], mode='bilinear')[0]
        a, b = (maps.detach().flatten(1).double() for maps in (one, other))
        n_old, n_new = self._n_values, a.shape[1]
        means = [maps.mean(1) for maps in (a, b)]
        a, b = a - means[0][:, None], b - means[1][:, None]
        products = [(a @ b.T), a.square().sum(1), b.square().sum(1)]
        if not n_old:
            self._means = [np.zeros(len(maps)) for maps in (a, b)]
            self._products = [np.zeros(tuple(p.shape)) for p in products]
        steps = [new.cpu().numpy() - old for new, old in zip(means, self._means, strict=True)]
        self._n_values = n_old + n_new
        fraction = n_new / self._n_values
        shifts = [np.outer(*steps), steps[0] ** 2, steps[1] ** 2]
        for k, (new, shift) in enumerate(zip(products, shifts, strict=True)):
            self._products[k] = self._products[k] + new.cpu().numpy() + shift * n_old * fraction
        self._means = [old + step * fraction for old, step in zip(self._means, steps, strict=True)]

    def matrix(self) -> Float64Array:
        """(C, D) float64 in -1..1; 0 if a unit is constant."""
        both, one, other = self._products
        scale = np.sqrt(np.outer(one, other))
        return np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)


def match_units(correlation: Float64Array) -> list[int | None]:
    """Match the units of a network with those of another one.

    Layers with equal numbers of units are matched by index. Removing channels keeps the order of the others.
    So layers of unequal size are matched in order, with the largest sum of correlations.

    Args:
        correlation: (C, D) float, correlation of the units of this network with those of the other.

    Returns:
        Index in the other network for each of the C units; None if the unit was removed.
    """
    n, m = correlation.shape
    if n == m:
        return list(range(n))
    matched: list[int | None] = [None] * n
    if n < m:
        for index, own in enumerate(match_units(correlation.T)):
            if own is not None:
                matched[own] = index
        return matched
    best = np.full((n + 1, m + 1), -np.inf)  # best sum for the first i and the first k units
    best[:, 0] = 0
    for i in range(n):
        best[i + 1, 1:] = np.maximum(best[i, 1:], best[i, :-1] + correlation[i])
    k = m
    for i in reversed(range(n)):
        if k and best[i + 1, k] > best[i, k]:
            k -= 1
            matched[i] = k
    return matched


@dataclass
class Watched:
    """A layer of a network with the statistics of its units.

    Attributes:
        network: Network in evaluation mode.
        layer: Name of a sub-module.
        size: (height, width) in pixels that images are stretched to.
        record: Statistics of its units.
        correlation: Correlation of its units with those of the first watched layer.
    """

    network: ImageNetwork
    layer: str
    size: tuple[int, int]
    record: UnitRecord
    correlation: Correlation = field(default_factory=Correlation)

    def input_of(self, image: UInt8Array) -> Tensor:
        """Resize an image, (H, W, 3) uint8 RGB, to (height, width, 3) uint8 on the device of the network."""
        resized = np.array(resize_image(image, *self.size))
        return torch.from_numpy(resized).to(self.network.scale.device)


def watch(layers: Sequence[Watched], images: Iterable[UInt8Array]) -> None:
    """Show images to all layers and update their statistics.

    Args:
        layers: Layers of one network, or of several networks to compare with the first.
        images: Images, (H, W, 3) uint8 RGB each.
    """
    for image in images:
        with torch.no_grad():
            maps = [layer_maps(w.network, w.layer, w.input_of(image)) for w in layers]
        for watched, found in zip(layers, maps, strict=True):
            watched.record.add(found)
            if watched is not layers[0]:
                watched.correlation.add(maps[0], found)
