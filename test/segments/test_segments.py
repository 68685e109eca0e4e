"""From superpixels to segments: what is joined, in which order, and what a segment is said to be."""

import cv2
import numpy as np
import pytest
import torch

from seg_ros.arrays import UNLABELLED
from seg_ros.segments.blocks import blocks
from seg_ros.segments.code_pooling import CodePooling
from seg_ros.segments.hamming import unpack
from seg_ros.segments.regions import find_borders
from seg_ros.segments.registry import MERGES
from seg_ros.segments.rules import SegmentRules
from seg_ros.segments.segments import find_segments

SIZE, N_BITS = (48, 64), 16
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
CODER = CodePooling(N_BITS, None)
LOGITS = cv2.resize(RNG.standard_normal((3, 4, N_BITS)).astype(np.float32), SIZE[::-1])
SCORES = torch.from_numpy(RNG.standard_normal((5, *SIZE)).astype(np.float32))


def components(limit: float) -> np.ndarray:
    """Blocks that touch and differ in at most that share of bits, joined slowly: (H, W)."""
    squares = blocks(IMAGE, region_size=8)
    bits = np.stack([LOGITS[squares.ids == k].mean(0) > 0 for k in range(squares.n)])
    name = np.arange(squares.n)
    for one, other in find_borders(squares).pairs:
        if (bits[one] != bits[other]).mean() <= limit:
            name[name == name[other]] = name[one]
    joined: np.ndarray = name[squares.ids]
    return joined


@pytest.mark.parametrize('limit', [0.0, 0.125, 0.3, 1.0])
def test_components_are_joined_as_the_paper_does(limit: float) -> None:
    rules = SegmentRules(superpixels='blocks', region_size=8, merge='components', merge_limit=limit)
    found = find_segments(IMAGE, torch.from_numpy(LOGITS), None, CODER, rules)
    want = components(limit)
    pairs = {*zip(found.regions.ids.ravel().tolist(), want.ravel().tolist(), strict=True)}
    assert len(pairs) == found.n == len(np.unique(want))


@pytest.mark.parametrize('merge', MERGES)
def test_segments_are_described_by_their_pixels(merge: str) -> None:
    rules = SegmentRules(superpixels='blocks', region_size=8, merge=merge, merge_limit=0.2)
    found = find_segments(IMAGE, torch.from_numpy(LOGITS), SCORES, CODER, rules)
    assert found.scores is not None
    sizes = np.bincount(found.regions.ids.ravel())
    assert 1 < found.n == len(sizes)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    for k in range(found.n):
        inside = found.regions.ids == k
        np.testing.assert_allclose(found.means[k], LOGITS[inside].mean(0), atol=1e-5)
        np.testing.assert_allclose(found.scores[k], SCORES.numpy()[:, inside].mean(1), atol=1e-5)
    assert np.array_equal(unpack(found.codes), found.means > 0)
    assert found.class_ids.tolist() == found.scores.argmax(1).tolist()


def test_scores_that_overflow_give_no_class() -> None:
    scores = SCORES.clone()
    scores[2, :, 32:] = float('nan')
    rules = SegmentRules(superpixels='blocks', region_size=32, merge_limit=0.0)
    found = find_segments(IMAGE, torch.from_numpy(LOGITS), scores, CODER, rules)
    spoilt = {int(k) for k in np.unique(found.regions.ids[:, 32:])}
    assert {k for k in range(found.n) if found.class_ids[k] == UNLABELLED} == spoilt
