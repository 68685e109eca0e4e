"""Codes of regions: the bits before the threshold, averaged over the pixels of each region, then above 0.

The layer's output is linear in what the network and the colour of a pixel say, so the colour's part of it is
added to the mean of each region instead of to each pixel.
"""

from dataclasses import dataclass

import torch

from seg_ros.arrays import Float32Array, UInt8Array
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.segments.blocks import blocks
from seg_ros.segments.colour import colour_moments, lab_planes
from seg_ros.segments.hamming import pack
from seg_ros.segments.regions import Regions, region_means

_GOLDEN_GRID = 6


@dataclass(frozen=True)
class CodePooling:
    """The pooling rule, and the colour's part of a binary layer.

    Attributes:
        n_bits: of a code.
        colour: (9, n_bits) float32; None where the layer reads no colour.
    """

    n_bits: int
    colour: Float32Array | None

    @classmethod
    def of(cls, layer: BinaryLayer) -> 'CodePooling':
        """The rule for a layer."""
        if layer.colour is None:
            return cls(layer.n_bits, None)
        return cls(layer.n_bits, layer.colour.weight.detach().float().cpu().numpy().T.copy())

    def means(
        self, logits: torch.Tensor, planes: Float32Array, regions: Regions, n_threads: int = 0
    ) -> Float32Array:
        """Mean bits before the threshold.

        Args:
            logits: (h, w, n_bits) float32 of an image, from ``FrameNetwork``.
            planes: (3, H, W) float32, the same image, from ``lab_planes``.
            regions: of it.
            n_threads: 0 = one for every core.

        Returns:
            (S, n_bits) float32.
        """
        means = region_means(logits.detach().cpu().numpy(), regions, n_threads)
        if self.colour is not None:
            means += colour_moments(planes, regions, n_threads) @ self.colour
        return means

    def golden(self, logits: torch.Tensor, image: UInt8Array) -> UInt8Array:
        """What a model file records: codes, (S, n_bits / 8) uint8, of 4 x 6 blocks of a (H, W, 3) image."""
        region_size = max(image.shape[1] // _GOLDEN_GRID, 2)
        return pack(self.means(logits, lab_planes(image), blocks(image, region_size=region_size)) > 0)
