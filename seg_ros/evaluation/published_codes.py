"""Binary codes as published: 8 bits of the last map by ITQ, without labels, joined where they are equal.

M. Ravanbakhsh et al., arXiv 1611.06764: ITQ is fitted on feature columns of unlabelled images, and adjacent
superpixels at Hamming distance 0 form a segment, so segments are connected components. The code of a
superpixel here is the sign of its mean projection, as everywhere in this package.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from seg_ros.arrays import Float32Array, Int32Array, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.segments.itq import ITQ
from seg_ros.segments.regions import Regions, connected_parts, region_means

N_BITS = 8
"""Number of bits of a code in the paper."""

_N_COLUMNS = 200
"""Number of feature columns that are drawn from an image."""


@dataclass(frozen=True)
class PublishedCodes:
    """Codes of 8 bits of the last map that a model's binary layer reads.

    Attributes:
        itq: Fitted estimator.
        n_images: Number of images that it was fitted on.
    """

    itq: ITQ
    n_images: int

    @classmethod
    def fit(cls, frames: FrameNetwork, images: Sequence[UInt8Array], *, seed: int = 0) -> 'PublishedCodes':
        """Fit the codes to images without labels.

        Args:
            frames: Network of a model with codes.
            images: (H, W, 3) uint8 RGB each.
            seed: Seed of the choice of columns and of ITQ.

        Raises:
            ParameterError: There are no images, or the map has fewer than 8 channels.
        """
        if not images:
            raise ParameterError('the published codes need images to be fitted on; got none')
        rng = np.random.default_rng(seed)
        batches = []
        for image in images:
            columns = unit_columns(frames, image)[-1]
            flat = columns.reshape(-1, columns.shape[-1])
            batches.append(flat[rng.integers(0, len(flat), _N_COLUMNS)])
        return cls(ITQ(N_BITS, seed=seed).fit(batches), len(images))

    def codes(self, columns: Float32Array, superpixels: Regions) -> Int32Array:
        """Codes of superpixels, (S,) int32 in 0..255, from the (h, w, C) columns of their image."""
        means = region_means(self.itq.transform(columns).astype(np.float32), superpixels)
        return (means > 0).astype(np.int32) @ (1 << np.arange(N_BITS, dtype=np.int32))

    def segments(self, columns: Float32Array, superpixels: Regions) -> Int32Array:
        """Connected superpixels of equal codes, (H, W) int32 from 0."""
        return connected_parts(self.codes(columns, superpixels)[superpixels.ids]).ids


@torch.no_grad()
def unit_columns(frames: FrameNetwork, image: UInt8Array) -> list[Float32Array]:
    """Maps that the binary layer of a model reads, each pixel normalised over depth.

    Args:
        frames: Network of a model with codes.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (h, w, C) float32 each.
    """
    device = next(frames.parameters()).device
    maps = frames.maps(torch.from_numpy(np.ascontiguousarray(image))[None].to(device))
    return [F.normalize(m.float(), dim=1)[0].permute(1, 2, 0).contiguous().cpu().numpy() for m in maps]
