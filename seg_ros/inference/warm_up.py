"""Everything that a frame can need is compiled, or loaded from disk, before the first frame.

Numba compiles a loop at its first call. Each loop that some legal option needs is called once here, with the
outputs of the very backend, so that types and memory layouts are those of the frames.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg_ros._numba import import_kernels
from seg_ros.inference.argmax import argmax_labels
from seg_ros.segments.regions import KERNELS, region_shapes
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import find_segments
from seg_ros.segments.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg_ros.arrays import UInt8Array
    from seg_ros.inference.segmenter import Segmenter

_GRAIN = 4
_REFINEMENT = 1.0


def warm_up(segmenter: Segmenter, report: Callable[[str], None] = lambda stage: None) -> None:
    """Run everything that a frame can need, with every superpixel algorithm and rule for merging.

    Args:
        segmenter: Segmenter with its backend; a model without codes has no segments.
        report: Called with the name of each stage when it begins; an exception that it raises stops the work.

    Raises:
        BackendError: The backend failed.
    """
    report('warm-up: network')
    image = _noise(*segmenter.input_size)
    outputs = segmenter.backend(torch.from_numpy(image)[None])
    scores = outputs['scores'][0] if 'scores' in outputs else None
    report('warm-up: labels')
    if scores is not None:
        _labels_of(segmenter, scores)
    if segmenter.embedding_filter is not None and scores is not None:
        report('warm-up: embedding filter')
        filtered = segmenter.embedding_filter(
            scores, outputs['embeddings'][0], segmenter.n_threads, iterations=1
        )
        _labels_of(segmenter, filtered)
    if segmenter.code_pooling is not None and import_kernels(*KERNELS) is not None:
        _segments(segmenter, image, outputs['codes'][0], scores, report)


def _segments(
    segmenter: Segmenter,
    image: UInt8Array,
    logits: torch.Tensor,
    scores: torch.Tensor | None,
    report: Callable[[str], None],
) -> None:
    """Find segments in every way, and use them as a node does."""
    assert segmenter.code_pooling is not None
    for superpixels, merge in product(SUPERPIXELS, MERGES):
        report(f'warm-up: segments, {superpixels}, {merge}')
        rules = SegmentRules(superpixels, merge=merge, merge_limit=0.5)
        segments = find_segments(image, logits, scores, segmenter.code_pooling, rules, segmenter.n_threads)
    refined = None if scores is None else segments.refine(scores, _REFINEMENT)
    if refined is not None:
        _labels_of(segmenter, refined)
    height, width = segmenter.input_size
    for segments_of_image in (segments, segments.resized(height + 1, width + 1)):
        region_shapes(segments_of_image.regions)
        tracker = Tracker()
        for _ in range(2):
            tracker(segments_of_image.regions, segments_of_image.codes)


def _labels_of(segmenter: Segmenter, scores: torch.Tensor) -> None:
    height, width = segmenter.input_size
    argmax_labels(scores, height + 1, width + 1, with_confidence=True, n_threads=segmenter.n_threads)


def _noise(height: int, width: int) -> UInt8Array:
    """Image, (height, width, 3) uint8, of coarse noise, which has regions of all sizes and shapes."""
    rows, columns = height // _GRAIN + 1, width // _GRAIN + 1
    coarse = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
    image = coarse.repeat(_GRAIN, 0).repeat(_GRAIN, 1)[:height, :width]
    return np.ascontiguousarray(image)
