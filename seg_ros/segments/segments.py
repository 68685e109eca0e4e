"""Segments of an image: superpixels, merged by their codes, with class and mean scores."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import (
    UNLABELLED,
    Float32Array,
    Int32Array,
    Maps,
    UInt8Array,
    in_memory,
    moved_to_memory,
    unfolded,
)
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.colour import lab_planes
from seg_ros.segments.hamming import pack
from seg_ros.segments.regions import Regions, score_means
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.run_lengths import nearest_1d


@dataclass(frozen=True)
class Segments:
    """Segments of an image, the largest first.

    Attributes:
        regions: Segment of each pixel.
        codes: (S, n_bits / 8) uint8.
        means: (S, n_bits) float32, mean logits of the bits.
        class_ids: (S,) uint8, class with the largest mean score, 255 = none.
        scores: (S, K) float32, mean scores; None for a model without classes.
        region_size: Size of the superpixels in pixels of the image that they were found in; larger than asked
            for where there would be too many. 0 = not known.
    """

    regions: Regions
    codes: UInt8Array
    means: Float32Array
    class_ids: UInt8Array
    scores: Float32Array | None = None
    region_size: int = 0

    @property
    def n(self) -> int:
        """Number of segments."""
        return self.regions.n

    def resized(self, height: int, width: int) -> 'Segments':
        """The segments at a size of (height, width) pixels, without those that lose all pixels."""
        if self.regions.shape == (height, width):
            return self
        regions = Regions(self.regions.runs.resized(height, width), self.n)
        return _in_order(replace(self, regions=regions), regions.sizes)

    def refine(self, scores: Maps, weight: float) -> Maps:
        """Weighted means of the scores of the pixels and the mean scores of their segments.

        A sum instead of a mean would give the same labels with too much confidence.

        Args:
            scores: (K, h, w) float32, scores of the image, or folded.
            weight: Weight of the mean score of a segment, where a pixel's own has 1; a large one gives each
                segment a single class.

        Returns:
            (K, h, w) float32, where the scores are.
        """
        if self.scores is None:
            return scores
        scores = unfolded(scores)
        ids = self._ids_of_size(scores.shape[1], scores.shape[2])
        own = 1 / (1 + weight)
        means = np.where(np.isfinite(self.scores), self.scores, 0) * np.float32(weight / (1 + weight))
        spread = means[ids].transpose(2, 0, 1)
        array = in_memory(scores)
        if array is not None:
            return array * own + spread
        import torch

        assert isinstance(scores, torch.Tensor)
        return scores * own + torch.from_numpy(spread).to(scores.device)

    def _ids_of_size(self, height: int, width: int) -> Int32Array:
        """Ids of the nearest pixels, (height, width) int32."""
        ids = self.regions.ids
        if ids.shape == (height, width):
            return ids
        rows, columns = nearest_1d(ids.shape[0], height), nearest_1d(ids.shape[1], width)
        return np.ascontiguousarray(ids[rows[:, None], columns])


def find_segments(
    image: UInt8Array,
    logits: Maps,
    scores: Maps | None,
    code_pooling: CodePooling,
    rules: SegmentRules,
    n_threads: int = 0,
) -> Segments:
    """Divide an image into segments with similar codes.

    Args:
        image: (H, W, 3) uint8 RGB, input of the network.
        logits: (h, w, n_bits) float32; their signs are the bits.
        scores: (K, h, w) float32, or folded; None for a model without classes.
        code_pooling: Pooling of the model.
        rules: Settings for superpixels and merging. Superpixels are larger than asked for if the image would
            have too many of them, see ``SegmentRules.bounded``.
        n_threads: Number of threads, 0 = one per core.
    """
    rules = rules.bounded(*image.shape[:2])
    planes = lab_planes(image)
    superpixels = SUPERPIXELS[rules.superpixels](
        image, region_size=rules.region_size, n_threads=n_threads, planes=planes
    )
    means = code_pooling.means(logits, planes, superpixels, n_threads)
    of_superpixel, n = MERGES[rules.merge](superpixels, means, rules)
    regions, means = _merged(superpixels, means, of_superpixel, n)
    codes, size = pack(means > 0), rules.region_size
    if scores is None:
        return Segments(regions, codes, means, np.full(n, UNLABELLED, np.uint8), region_size=size)
    mean_scores = score_means(moved_to_memory(scores), regions, n_threads)
    return Segments(regions, codes, means, _class_ids(mean_scores), mean_scores, size)


def _merged(
    superpixels: Regions, means: Float32Array, of_superpixel: Int32Array, n: int
) -> tuple[Regions, Float32Array]:
    """Merge superpixels into n segments, the largest first.

    Args:
        superpixels: Superpixels, S of them.
        means: (S, C) float32, mean values of the superpixels.
        of_superpixel: (S,) int32, segment of each superpixel.
        n: Number of segments.

    Returns:
        The segments, and their mean values, (n, C) float32.
    """
    sizes = np.bincount(of_superpixel, superpixels.sizes, n)
    order = np.argsort(-sizes, kind='stable')
    of_superpixel = np.argsort(order).astype(np.int32)[of_superpixel]
    sums = _group_sums(of_superpixel, means * superpixels.sizes[:, None], n)
    return superpixels.renamed(of_superpixel, n), np.asarray(sums / sizes[order, None], np.float32)


def _class_ids(scores: Float32Array) -> UInt8Array:
    """Class with the largest score, (S,) uint8; 255 if a score of (S, K) is not finite."""
    is_known = np.isfinite(scores).all(1)
    return np.where(is_known, scores.argmax(1), UNLABELLED).astype(np.uint8)


def _group_sums(group: Int32Array, values: Float32Array, n: int) -> Float32Array:
    """Sums of (S, C) values over n groups, (n, C) float32; ``group`` is (S,)."""
    order = np.argsort(group, kind='stable')
    starts = np.searchsorted(group[order], np.arange(n))
    sums: Float32Array = np.add.reduceat(values[order].astype(np.float32), starts, axis=0)
    return sums


def _in_order(segments: Segments, sizes: npt.NDArray[np.int64]) -> Segments:
    """Segments numbered by size, the largest first, without those of size 0."""
    order = np.argsort(-sizes, kind='stable')[: int((sizes > 0).sum())]
    new = np.full(segments.n, -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return replace(
        segments,
        regions=segments.regions.renamed(new, len(order)),
        codes=segments.codes[order],
        means=segments.means[order],
        class_ids=segments.class_ids[order],
        scores=None if segments.scores is None else segments.scores[order],
    )
