"""Methods for dividing an image into segments, for comparison: superpixels, EGS, k-means and codes.

Rows of k-means: ``kmeans`` clusters what the binary layer has learned, ``kmeans_cnn`` the maps of the network
that the layer reads, as M. Ravanbakhsh et al. (arXiv 1611.06764) compare with.

EGS: P. Felzenszwalb, D. Huttenlocher, "Efficient graph-based image segmentation", 2004, from scikit-image.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import cv2
import numpy as np
import torch

from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.published_codes import PublishedCodes, unit_columns
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.greedy_merging import merge_most_similar
from seg_ros.segments.regions import Borders, Regions, connected_parts, find_borders, region_means
from seg_ros.segments.slic import slic

MethodSettings = Mapping[str, float]

_SOFTNESS = 15.0
"""Slope of the sigmoid that turns mean logits into soft bits, as in fine-tuning."""


@dataclass
class PooledSuperpixels:
    """Superpixels of an image with their mean logits.

    Attributes:
        superpixels: Superpixels, S of them.
        borders: Borders between them.
        means: (S, n_bits) float32, mean logits of the bits.
        fractions: (S,) float32, fraction of the image that each superpixel covers.
    """

    superpixels: Regions
    borders: Borders
    means: Float32Array
    fractions: Float32Array


@dataclass
class Cutter:
    """Divides one image by several methods; shared results are computed once.

    Args:
        image: (H, W, 3) uint8 RGB.
        frames: Network of a model with codes, in evaluation mode; None if no method needs codes.
        published_codes: Codes of the method ``published``; None if it is not used.
    """

    image: UInt8Array
    frames: FrameNetwork | None = None
    published_codes: PublishedCodes | None = None
    _pooled: dict[int, PooledSuperpixels] = field(default_factory=dict)
    _logits: torch.Tensor | None = None
    _columns: list[Float32Array] | None = None

    def slic(self, settings: MethodSettings) -> Int32Array:
        """Superpixels alone; the setting is ``region_size``."""
        ids: Int32Array = slic(self.image, region_size=int(settings['region_size'])).ids
        return ids

    def egs(self, settings: MethodSettings) -> Int32Array:
        """EGS; the settings are ``sigma``, ``k`` and ``min_size``."""
        try:
            from skimage.segmentation import felzenszwalb
        except ImportError as err:
            raise UnavailableError("EGS needs scikit-image: pip install 'seg_ros[segments]'") from err
        found: Int32Array = felzenszwalb(
            self.image,
            scale=settings['k'],
            sigma=settings['sigma'],
            min_size=int(settings['min_size']),
            channel_axis=2,
        ).astype(np.int32)
        return found

    def codes(self, settings: MethodSettings) -> Int32Array:
        """Superpixels merged by codes; settings: ``region_size`` and those of ``merge_most_similar``."""
        pooled = self._pool(int(settings['region_size']))
        return self._merge(pooled, pooled.means, True, settings)

    def features(self, settings: MethodSettings) -> Int32Array:
        """Superpixels merged by soft bits, the sigmoid of the mean logits."""
        pooled = self._pool(int(settings['region_size']))
        soft = 1 / (1 + np.exp(-_SOFTNESS * pooled.means))
        return self._merge(pooled, soft, False, settings)

    def kmeans(self, settings: MethodSettings) -> Int32Array:
        """Superpixels merged by k-means of the mean logits, with as many clusters as codes give segments."""
        pooled = self._pool(int(settings['region_size']))
        n_clusters = int(self.codes(settings).max()) + 1
        return _clustered(pooled.means, n_clusters, pooled.superpixels)

    def kmeans_cnn(self, settings: MethodSettings) -> Int32Array:
        """Superpixels merged by k-means of their mean feature columns; settings: ``region_size``, ``k``."""
        superpixels = slic(self.image, region_size=int(settings['region_size']))
        means = np.concatenate([region_means(c, superpixels) for c in self._unit_columns()], axis=1)
        return _clustered(means, int(settings['k']), superpixels)

    def published(self, settings: MethodSettings) -> Int32Array:
        """Superpixels of equal published codes; the setting is ``region_size``."""
        if self.published_codes is None:
            raise ParameterError('the method published needs codes that are fitted first; got none')
        superpixels = slic(self.image, region_size=int(settings['region_size']))
        return self.published_codes.segments(self._unit_columns()[-1], superpixels)

    def _unit_columns(self) -> list[Float32Array]:
        if self._columns is None:
            self._columns = unit_columns(self._coded_network(), self.image)
        return self._columns

    def _coded_network(self) -> FrameNetwork:
        if self.frames is None or self.frames.codes is None:
            raise ParameterError('this method needs a model with codes; choose one with --model')
        return self.frames

    def _merge(
        self, pooled: PooledSuperpixels, means: Float32Array, binary: bool, settings: MethodSettings
    ) -> Int32Array:
        of_superpixel, _ = merge_most_similar(
            pooled.borders.pairs,
            pooled.borders.lengths,
            np.asarray(means * pooled.fractions[:, None], np.float32),
            pooled.fractions.copy(),
            binary,
            np.float32(settings['merge_limit']),
            np.float32(settings['size_power']),
            np.float32(settings['border_share']),
        )
        ids: Int32Array = of_superpixel[pooled.superpixels.ids]
        return ids

    def _pool(self, region_size: int) -> PooledSuperpixels:
        if region_size not in self._pooled:
            frames = self._coded_network()
            assert frames.codes is not None
            if self._logits is None:
                device = next(frames.parameters()).device
                with torch.no_grad():
                    self._logits = frames(torch.from_numpy(self.image.copy())[None].to(device))['codes'][0]
            superpixels = slic(self.image, region_size=region_size)
            means = CodePooling.of(frames.codes).means(self._logits, lab_planes(self.image), superpixels)
            sizes = np.bincount(superpixels.ids.ravel(), minlength=superpixels.n)
            self._pooled[region_size] = PooledSuperpixels(
                superpixels, find_borders(superpixels), means, (sizes / sizes.sum()).astype(np.float32)
            )
        return self._pooled[region_size]


def _clustered(vectors: Float32Array, n_clusters: int, superpixels: Regions) -> Int32Array:
    """Connected superpixels of the same cluster, (H, W) int32, by k-means of (S, D) vectors."""
    if n_clusters >= superpixels.n:
        return superpixels.ids
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    _, cluster, _ = cv2.kmeans(
        vectors, n_clusters, np.empty((0, 1), np.int32), criteria, 1, cv2.KMEANS_PP_CENTERS
    )
    return connected_parts(cluster.ravel().astype(np.int32)[superpixels.ids]).ids


def grid(**choices: tuple[float, ...]) -> Iterator[dict[str, float]]:
    """All combinations of the values of settings."""
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


_REGION_SIZES = (10.0, 14.0)
_LIMITS = (0.08, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.2, 0.23)
_SOFT_LIMITS = (0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2)
GRIDS: dict[str, list[dict[str, float]]] = {
    'slic': list(grid(region_size=(20, 30, 40, 60, 80, 120, 160))),
    'egs_default': [{'sigma': 1.0, 'k': 100, 'min_size': 20}],
    'egs_tuned': list(grid(sigma=(0.8, 1.0), k=(100, 200, 300, 500, 800), min_size=(50, 150, 500))),
    'kmeans_cnn': list(grid(region_size=(14.0,), k=(2, 3, 4, 6, 8, 12, 20))),
    'published': list(grid(region_size=(14, 20, 30, 40, 60, 90, 120))),
    'codes': list(
        grid(
            region_size=_REGION_SIZES,
            merge_limit=_LIMITS,
            size_power=(0.0, 0.1),
            border_share=(0.3, 0.6, 0.8),
        )
    ),
    'features': list(
        grid(region_size=_REGION_SIZES, merge_limit=_SOFT_LIMITS, size_power=(0.0, 0.1), border_share=(0.6,))
    ),
}
"""Settings that are tried when a method is tuned; k-means takes the settings of codes."""

METHODS: dict[str, Any] = {
    'slic': Cutter.slic,
    'egs_default': Cutter.egs,
    'egs_tuned': Cutter.egs,
    'kmeans': Cutter.kmeans,
    'kmeans_cnn': Cutter.kmeans_cnn,
    'published': Cutter.published,
    'codes': Cutter.codes,
    'features': Cutter.features,
}
"""Methods by name, as functions of a :class:`Cutter` and settings."""


def cut(cutter: Cutter, method: str, settings: MethodSettings) -> Int32Array:
    """Divide an image by a method: segments, (H, W) int32 from 0."""
    ids: Int32Array = partial(METHODS[method], cutter)(settings)
    return ids
