"""Codes of regions: mean logits of the bits over the pixels of each region, compared with 0.

The output of the binary layer is linear in the values of the network and in the colour of a pixel. The colour
term is therefore added to the mean of each region instead of to each pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seg_ros.arrays import Float32Array, Maps, UInt8Array, moved_to_memory
from seg_ros.segments.blocks import blocks
from seg_ros.segments.colour import colour_moments, lab_planes
from seg_ros.segments.hamming import pack
from seg_ros.segments.regions import Regions, region_means

if TYPE_CHECKING:
    from seg_ros.networks.binary_layer import BinaryLayer

_GOLDEN_GRID = 6


@dataclass(frozen=True)
class CodePooling:
    """Pooling of logits and colours into codes of regions.

    Attributes:
        n_bits: Number of bits of a code.
        colour: (9, n_bits) float32, weights of the colour; None if the layer reads no colour.
    """

    n_bits: int
    colour: Float32Array | None

    @classmethod
    def of(cls, layer: BinaryLayer) -> CodePooling:
        """Pooling for the outputs of a binary layer."""
        if layer.colour is None:
            return cls(layer.n_bits, None)
        return cls(layer.n_bits, layer.colour.weight.detach().float().cpu().numpy().T.copy())

    def means(self, logits: Maps, planes: Float32Array, regions: Regions, n_threads: int = 0) -> Float32Array:
        """Mean logits of the bits of each region.

        Args:
            logits: (h, w, n_bits) float32 of an image, from ``FrameNetwork``.
            planes: (3, H, W) float32, the same image, from ``lab_planes``.
            regions: Regions of the image.
            n_threads: Number of threads, 0 = one per core.

        Returns:
            (S, n_bits) float32.
        """
        means = region_means(moved_to_memory(logits), regions, n_threads)
        if self.colour is not None:
            means += colour_moments(planes, regions, n_threads) @ self.colour
        return means

    def golden(self, logits: Maps, image: UInt8Array) -> UInt8Array:
        """Codes for a golden record: (S, n_bits / 8) uint8 of the blocks of a (H, W, 3) image, 6 in a row."""
        return pack(self.golden_means(logits, image) > 0)

    def golden_means(self, logits: Maps, image: UInt8Array) -> Float32Array:
        """(S, n_bits) float32 mean logits, whose signs are the codes of :meth:`golden`."""
        region_size = max(image.shape[1] // _GOLDEN_GRID, 2)
        return self.means(logits, lab_planes(image), blocks(image, region_size=region_size))
