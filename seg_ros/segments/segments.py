"""From an image and what a network says about it to segments with codes: superpixels, means, joining."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from seg_ros.arrays import UNLABELLED, Float32Array, Int32Array, UInt8Array
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.hamming import pack
from seg_ros.segments.regions import Regions, region_means
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.rules import SegmentRules


@dataclass(frozen=True)
class Segments:
    """The segments of an image, the largest first.

    Attributes:
        regions: which pixel belongs to which.
        codes: (S, n_bits / 8) uint8.
        means: (S, n_bits) float32, the bits before the threshold.
        class_ids: (S,) uint8, the class with the largest mean score, 255 = none.
        scores: (S, K) float32, mean scores; None for a model without classes.
    """

    regions: Regions
    codes: UInt8Array
    means: Float32Array
    class_ids: UInt8Array
    scores: Float32Array | None = None

    @property
    def n(self) -> int:
        """Number of segments."""
        return self.regions.n

    def resized(self, height: int, width: int) -> 'Segments':
        """The same for an image of (height, width) pixels; a segment may lose all of them."""
        if self.regions.ids.shape == (height, width):
            return self
        ids = self._ids_of_size(height, width)
        sizes = np.bincount(ids.ravel(), minlength=self.n)
        return _in_order(replace(self, regions=Regions(ids, self.n)), sizes)

    def refine(self, scores: torch.Tensor, weight: float) -> torch.Tensor:
        """Scores to which those of the segment are added.

        Args:
            scores: (K, h, w) float32, of the image.
            weight: of the mean over the segment, against the pixel's own; a large one gives each segment one
                class.

        Returns:
            (K, h, w) float32, on the same device.
        """
        if self.scores is None:
            return scores
        ids = torch.from_numpy(self._ids_of_size(scores.shape[1], scores.shape[2]))
        means = np.where(np.isfinite(self.scores), self.scores, 0) * np.float32(weight)
        spread = torch.from_numpy(means)[ids.long()].permute(2, 0, 1)
        return scores + spread.to(scores.device)

    def _ids_of_size(self, height: int, width: int) -> Int32Array:
        """The ids of the nearest pixels, (height, width) int32."""
        ids = self.regions.ids
        if ids.shape == (height, width):
            return ids
        rows = (np.arange(height) * 2 + 1) * ids.shape[0] // (2 * height)
        columns = (np.arange(width) * 2 + 1) * ids.shape[1] // (2 * width)
        return np.ascontiguousarray(ids[rows[:, None], columns])


def find_segments(
    image: UInt8Array,
    logits: torch.Tensor,
    scores: torch.Tensor | None,
    code_pooling: CodePooling,
    rules: SegmentRules,
    n_threads: int = 0,
) -> Segments:
    """Cut an image into segments of like codes.

    Args:
        image: (H, W, 3) uint8 RGB, the network's input.
        logits: (h, w, n_bits) float32, what the bits are the signs of.
        scores: (K, h, w) float32, or None for a model without classes.
        code_pooling: of the model.
        rules: how to.
        n_threads: 0 = one for every core.
    """
    planes = lab_planes(image)
    superpixels = SUPERPIXELS[rules.superpixels](
        image, region_size=rules.region_size, n_threads=n_threads, planes=planes
    )
    means = code_pooling.means(logits, planes, superpixels, n_threads)
    of_superpixel, n = MERGES[rules.merge](superpixels, means, rules)
    joined = np.bincount(of_superpixel, superpixels.sizes, n)
    order = np.argsort(-joined, kind='stable')
    of_superpixel = np.argsort(order).astype(np.int32)[of_superpixel]
    sums = _sum_up(of_superpixel, means * superpixels.sizes[:, None], n)
    means = np.asarray(sums / joined[order, None], np.float32)
    regions = superpixels.renamed(of_superpixel, n)
    class_ids, of_segment = np.full(n, UNLABELLED, np.uint8), None
    if scores is not None:
        of_segment = region_means(
            scores.detach().permute(1, 2, 0).contiguous().cpu().numpy(), regions, n_threads
        )
        is_known = np.isfinite(of_segment).all(1)
        class_ids = np.where(is_known, of_segment.argmax(1), UNLABELLED).astype(np.uint8)
    return Segments(regions, pack(means > 0), means, class_ids, of_segment)


def _sum_up(group: Int32Array, values: Float32Array, n: int) -> Float32Array:
    """Sum of the (S, C) values of each of n groups."""
    order = np.argsort(group, kind='stable')
    starts = np.searchsorted(group[order], np.arange(n))
    sums: Float32Array = np.add.reduceat(values[order].astype(np.float32), starts, axis=0)
    return sums


def _in_order(segments: Segments, sizes: npt.NDArray[np.int64]) -> Segments:
    """The same, numbered by size, the largest first, without those of size 0."""
    order = np.argsort(-sizes, kind='stable')[: int((sizes > 0).sum())]
    new = np.full(segments.n, -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return Segments(
        segments.regions.renamed(new, len(order)),
        segments.codes[order],
        segments.means[order],
        segments.class_ids[order],
        None if segments.scores is None else segments.scores[order],
    )
