"""Every compiled loop that a frame can need is compiled, or loaded from disk, before the first frame.

Numba compiles a loop at its first call with arguments of new types. Each loop that some legal option needs is
called once here, in all memory layouts that backends return.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from seg_ros._numba import import_kernels
from seg_ros.arrays import moved_to_memory
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.regions import KERNELS, region_shapes
from seg_ros.segments.registry import MERGES, SUPERPIXELS
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import find_segments
from seg_ros.segments.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg_ros.arrays import Float32Array, UInt8Array

_HEIGHT, _WIDTH, _GRAIN, _N_CLASSES = 96, 128, 4, 3
_TWO_THREADS = 2


def warm_up(*, with_filter: bool, report: Callable[[str], None] = lambda stage: None) -> None:
    """Call every compiled loop that labels can need; nothing happens without Numba.

    Args:
        with_filter: Whether frames are filtered by embeddings.
        report: Called with the name of each stage when it begins; an exception that it raises stops the work.
    """
    if import_kernels(*KERNELS) is None:
        return
    report('warm-up: labels')
    planes = _planes()
    by_pixel = np.ascontiguousarray(planes.transpose(1, 2, 0)).transpose(2, 0, 1)
    for scores in (planes, by_pixel):
        _label(scores)
        if with_filter:
            report('warm-up: embedding filter')
            _filter(scores)


def warm_up_segments(code_pooling: CodePooling, report: Callable[[str], None] = lambda stage: None) -> None:
    """Call every compiled loop that segments can need, as :func:`warm_up` does for labels.

    Args:
        code_pooling: Pooling of the model.
        report: As for :func:`warm_up`.
    """
    if import_kernels(*KERNELS) is None:
        return
    _segment(code_pooling, _planes(), report)


def _planes() -> Float32Array:
    """Scores of a small image, class by class."""
    return np.random.default_rng(0).random((_N_CLASSES, _HEIGHT // 2, _WIDTH // 2), np.float32)


def _label(scores: Float32Array) -> None:
    for with_confidence in (False, True):
        argmax_labels(scores, _HEIGHT, _WIDTH, with_confidence=with_confidence)


def _filter(scores: Float32Array) -> None:
    """Filter scores that are finer than the embeddings, and scores that are not."""
    for divisor in (2, 1):
        shape = 4, scores.shape[1] // divisor, scores.shape[2] // divisor
        embeddings = np.random.default_rng(0).random(shape, np.float32)
        _label(moved_to_memory(EmbeddingFilter(window=3, iterations=1)(scores, embeddings, _TWO_THREADS)))


def _segment(code_pooling: CodePooling, scores: Float32Array, report: Callable[[str], None]) -> None:
    """Find segments in every way, and use them as a node does."""
    image = _noise()
    for superpixels, merge, divisor in product(SUPERPIXELS, MERGES, (4, 1)):
        report(f'warm-up: segments, {superpixels}, {merge}')
        shape = _HEIGHT // divisor, _WIDTH // divisor, code_pooling.n_bits
        logits = np.random.default_rng(0).random(shape, np.float32) - np.float32(0.5)
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
