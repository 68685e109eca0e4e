"""Ways to cut an image into segments, to be compared: superpixels, EGS, k-means, and codes.

EGS: P. Felzenszwalb, D. Huttenlocher, "Efficient graph-based image segmentation", 2004, by scikit-image.
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
from seg_ros.errors import UnavailableError
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.greedy_merging import merge_most_similar
from seg_ros.segments.regions import Borders, Regions, connected_parts, find_borders
from seg_ros.segments.slic import slic

Settings = Mapping[str, float]

_SOFTNESS = 15.0
"""Slope of the sigmoid that makes the float parents of codes: as in fine-tuning, far from a threshold."""


@dataclass
class Described:
    """Superpixels of an image with what the codes of each are made of."""

    superpixels: Regions
    borders: Borders
    means: Float32Array
    shares: Float32Array


@dataclass
class Cutter:
    """Cuts one image in many ways; what several of them need is computed once.

    Args:
        image: (H, W, 3) uint8 RGB.
        frames: of a model with codes, in evaluation mode; None where only other methods are wanted.
    """

    image: UInt8Array
    frames: FrameNetwork | None = None
    _described: dict[int, Described] = field(default_factory=dict)
    _logits: torch.Tensor | None = None

    def slic(self, settings: Settings) -> Int32Array:
        """Superpixels alone; ``region_size``."""
        ids: Int32Array = slic(self.image, region_size=int(settings['region_size'])).ids
        return ids

    def egs(self, settings: Settings) -> Int32Array:
        """EGS; ``sigma``, ``k`` and ``min_size``."""
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

    def codes(self, settings: Settings) -> Int32Array:
        """Superpixels joined by their codes; ``region_size`` and those of ``merge_most_similar``."""
        described = self._describe(int(settings['region_size']))
        return self._join(described, described.means, True, settings)

    def features(self, settings: Settings) -> Int32Array:
        """The same by what the codes are made of: the layer's sigmoid instead of bits."""
        described = self._describe(int(settings['region_size']))
        soft = 1 / (1 + np.exp(-_SOFTNESS * described.means))
        return self._join(described, soft, False, settings)

    def kmeans(self, settings: Settings) -> Int32Array:
        """The same superpixels, joined where k-means puts them into one of as many clusters as codes give."""
        described = self._describe(int(settings['region_size']))
        n_clusters = int(self.codes(settings).max()) + 1
        if n_clusters >= described.superpixels.n:
            return described.superpixels.ids
        cv2.setRNGSeed(0)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
        _, cluster, _ = cv2.kmeans(
            described.means,
            n_clusters,
            np.empty((0, 1), np.int32),
            criteria,
            1,
            cv2.KMEANS_PP_CENTERS,
        )
        return connected_parts(cluster.ravel().astype(np.int32)[described.superpixels.ids]).ids

    def _join(
        self, described: Described, means: Float32Array, binary: bool, settings: Settings
    ) -> Int32Array:
        of_superpixel, _ = merge_most_similar(
            described.borders.pairs,
            described.borders.lengths,
            np.asarray(means * described.shares[:, None], np.float32),
            described.shares.copy(),
            binary,
            np.float32(settings['merge_limit']),
            np.float32(settings['size_power']),
            np.float32(settings['border_share']),
        )
        ids: Int32Array = of_superpixel[described.superpixels.ids]
        return ids

    def _describe(self, region_size: int) -> Described:
        if region_size not in self._described:
            assert self.frames is not None
            assert self.frames.codes is not None
            if self._logits is None:
                device = next(self.frames.parameters()).device
                with torch.no_grad():
                    self._logits = self.frames(torch.from_numpy(self.image.copy())[None].to(device))['codes'][
                        0
                    ]
            superpixels = slic(self.image, region_size=region_size)
            means = CodePooling.of(self.frames.codes).means(self._logits, lab_planes(self.image), superpixels)
            sizes = np.bincount(superpixels.ids.ravel(), minlength=superpixels.n)
            self._described[region_size] = Described(
                superpixels, find_borders(superpixels), means, (sizes / sizes.sum()).astype(np.float32)
            )
        return self._described[region_size]


def grid(**choices: tuple[float, ...]) -> Iterator[dict[str, float]]:
    """All combinations of settings."""
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


_REGION_SIZES = (10.0, 14.0)
_LIMITS = (0.08, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18, 0.2, 0.23)
_SOFT_LIMITS = (0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2)
GRIDS: dict[str, list[dict[str, float]]] = {
    'slic': list(grid(region_size=(20, 30, 40, 60, 80, 120, 160))),
    'egs_default': [{'sigma': 1.0, 'k': 100, 'min_size': 20}],
    'egs_tuned': list(grid(sigma=(0.8, 1.0), k=(100, 200, 300, 500, 800), min_size=(50, 150, 500))),
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
"""Settings to choose from when a method is tuned; k-means takes those of codes."""

METHODS: dict[str, Any] = {
    'slic': Cutter.slic,
    'egs_default': Cutter.egs,
    'egs_tuned': Cutter.egs,
    'kmeans': Cutter.kmeans,
    'codes': Cutter.codes,
    'features': Cutter.features,
}
"""Method of comparison -> how a :class:`Cutter` does it."""


def cut(cutter: Cutter, method: str, settings: Settings) -> Int32Array:
    """Segments, (H, W) int32 from 0, of one method."""
    ids: Int32Array = partial(METHODS[method], cutter)(settings)
    return ids
