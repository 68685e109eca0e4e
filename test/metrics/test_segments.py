import numpy as np
import pytest

from seg_ros.errors import ImageError
from seg_ros.metrics.segments import (
    SegmentScores,
    best_ious,
    boundary_recall,
    overlaps,
    undersegmentation_error,
)


def halves(column: int) -> np.ndarray:
    ids = np.zeros((4, 8), np.int32)
    ids[:, column:] = 1
    return ids


def random_ids(seed: int, n: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(0, n, (6, 7)).astype(np.int32)
    ids.flat[:n] = np.arange(n)
    return ids


def test_measures_that_the_eye_can_check() -> None:
    scores = SegmentScores()
    scores.add(halves(4), [halves(4)])
    assert (scores.per_segment, scores.covering) == (1, 1)
    scores = SegmentScores()
    scores.add(halves(4), [halves(2)])  # drawn 2 and 6 columns, found 4 and 4
    assert scores.per_segment == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert scores.covering == pytest.approx((2 * 2 / 4 + 6 * 4 / 6) / 8)


def test_kinds_of_segments_are_counted_apart() -> None:
    scores = SegmentScores()
    scores.add(halves(4), [halves(2), halves(4)], [['things', 'stuff'], ['stuff', '']])
    assert scores.per_segment_of == pytest.approx({'things': 2 / 4, 'stuff': (4 / 6 + 1) / 2})
    assert scores.per_segment == pytest.approx((2 / 4 + 4 / 6 + 1 + 1) / 4)
    without = SegmentScores()
    without.add(halves(4), [halves(2)])
    assert without.per_segment_of == {}


def test_best_iou_is_that_of_a_slow_search() -> None:
    for seed in range(10):
        found, drawn = random_ids(seed, 5), random_ids(seed + 50, 4)
        drawn[seed % 6] = -1
        slow = []
        for d in range(4):
            truth, counted = drawn == d, drawn >= 0
            slow.append(
                max(
                    ((found == f) & truth).sum() / max((((found == f) & counted) | truth).sum(), 1)
                    for f in range(5)
                )
            )
        assert best_ious(overlaps(found, drawn)) == pytest.approx(slow)


def test_the_two_means_weigh_differently() -> None:
    scores = SegmentScores()
    scores.add(halves(4), [halves(4), halves(2)])
    scores.add(halves(4), [np.zeros((4, 8), np.int32)])
    first = (2 * 2 / 4 + 6 * 4 / 6) / 8
    assert scores.per_segment == pytest.approx(np.mean([1, 1, 2 / 4, 4 / 6, 0.5]))
    assert scores.covering == pytest.approx(np.mean([np.mean([1, first]), 0.5]))


def test_void_counts_for_nothing() -> None:
    drawn = halves(4)
    drawn[:, :2] = -1
    scores = SegmentScores()
    scores.add(halves(4), [drawn])
    assert scores.covering == 1
    empty = SegmentScores()
    empty.add(halves(4), [np.full((4, 8), -1, np.int32)])
    assert np.isnan(empty.covering)
    assert np.isnan(empty.per_segment)


def test_boundaries() -> None:
    assert boundary_recall(halves(4), halves(4)) == 1
    assert boundary_recall(halves(6), halves(4)) == 1  # two pixels away
    assert boundary_recall(halves(7), halves(4)) == 0
    assert boundary_recall(halves(4), np.zeros((4, 8), np.int32)) == 1
    assert undersegmentation_error(halves(4), halves(4)) == 0
    assert undersegmentation_error(halves(4), halves(3)) == pytest.approx(2 * 4 / 32)


def test_sizes_must_agree() -> None:
    with pytest.raises(ImageError, match='expected the same size'):
        overlaps(halves(4), np.zeros((4, 4), np.int32))
