"""Every compiled loop that a frame can need is compiled, or loaded from disk, before the first frame.

Numba compiles a loop at its first call with arguments of new types. Each loop that some legal option needs is
called once here, in all memory layouts that backends return.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg_ros._numba import import_kernels
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.segments.regions import KERNELS, region_shapes
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import find_segments
from seg_ros.segments.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from seg_ros.arrays import UInt8Array
    from seg_ros.segments.code_pooling import CodePooling

_HEIGHT, _WIDTH, _GRAIN, _N_CLASSES = 96, 128, 4, 3
_TWO_THREADS = 2


def warm_up(
    *, code_pooling: CodePooling | None, with_filter: bool, report: Callable[[str], None] = lambda stage: None
) -> None:
    """Call every compiled loop that a frame can need; nothing happens without Numba.

    Args:
        code_pooling: Pooling of the model; None = a model without codes, which has no segments.
        with_filter: Whether frames are filtered by embeddings.
        report: Called with the name of each stage when it begins; an exception that it raises stops the work.
    """
    if import_kernels(*KERNELS) is None:
        return
    report('warm-up: labels')
    planes = torch.rand(1, _N_CLASSES, _HEIGHT // 2, _WIDTH // 2, generator=torch.Generator().manual_seed(0))
    for layout in (torch.contiguous_format, torch.channels_last):
        scores = planes.to(memory_format=layout)[0]
        _label(scores)
        if with_filter:
            report('warm-up: embedding filter')
            _filter(scores)
    if code_pooling is not None:
        _segment(code_pooling, planes[0], report)


def _label(scores: Tensor) -> None:
    argmax_labels(scores, _HEIGHT, _WIDTH, with_confidence=True)


def _filter(scores: Tensor) -> None:
    """Filter scores that are finer than the embeddings, and scores that are not."""
    for divisor in (2, 1):
        embeddings = torch.rand(4, scores.shape[1] // divisor, scores.shape[2] // divisor)
        _label(EmbeddingFilter(window=3, iterations=1)(scores, embeddings, _TWO_THREADS))


def _segment(code_pooling: CodePooling, scores: Tensor, report: Callable[[str], None]) -> None:
    """Find segments in every way, and use them as a node does."""
    image = _noise()
    for superpixels, merge, divisor in product(SUPERPIXELS, MERGES, (4, 1)):
        report(f'warm-up: segments, {superpixels}, {merge}')
        logits = torch.rand(_HEIGHT // divisor, _WIDTH // divisor, code_pooling.n_bits) - 0.5
        rules = SegmentRules(superpixels, region_size=8, merge=merge, merge_limit=0.5)
        segments = find_segments(image, logits, scores, code_pooling, rules, _TWO_THREADS)
    for found in (segments, segments.resized(_HEIGHT + 1, _WIDTH + 1)):
        region_shapes(found.regions)
        tracker = Tracker()
        for _ in range(2):
            tracker(found.regions, found.codes)


def _noise() -> UInt8Array:
    """Image, (_HEIGHT, _WIDTH, 3) uint8, of coarse noise, which has regions of many sizes and shapes."""
    shape = _HEIGHT // _GRAIN, _WIDTH // _GRAIN, 3
    coarse = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.ascontiguousarray(coarse.repeat(_GRAIN, 0).repeat(_GRAIN, 1))
