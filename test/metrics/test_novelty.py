import itertools
import math

import numpy as np
import pytest

from seg_ros.metrics.labels import Counts
from seg_ros.metrics.novelty import LEAST_EXCESS, THRESHOLD, novelty_score, novelty_threshold


def labels(*pixels: int) -> Counts:
    """Pixels of each class, the last number unlabelled."""
    return np.array(pixels, np.int64)


def confidences(**pixels: int) -> Counts:
    """Pixels by confidence: v255=3 are three pixels of confidence 255."""
    counts = np.zeros(256, np.int64)
    for name, n in pixels.items():
        counts[int(name[1:])] = n
    return counts


def test_scores_by_hand() -> None:
    assert novelty_score(labels(5, 5, 5, 0), confidences(v255=15)) == pytest.approx(0)
    assert novelty_score(labels(15, 0, 0, 0), confidences(v255=15)) == pytest.approx(1)
    # half the frame is of one class, half of another: log 2 / log 4 = 1 / 2
    assert novelty_score(labels(8, 8, 0, 0, 0), confidences(v255=16)) == pytest.approx(0.5)
    # confidence 0.2: five classes of 0.2 each have the smallest entropy, log 5
    unsure = novelty_score(labels(2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0), confidences(v51=20))
    assert unsure == pytest.approx(math.log(5) / math.log(10))


def test_entropy_is_the_smallest_of_all_distributions() -> None:
    steps = 15  # probabilities are multiples of 1 / 15, so confidences are multiples of 17
    for largest in range(4, steps + 1):
        entropies = [
            -sum(part / steps * math.log(part / steps) for part in parts if part)
            for parts in itertools.product(range(largest + 1), repeat=4)
            if sum(parts) == steps and max(parts) == largest
        ]
        # a frame of equal classes: the score is the entropy of a pixel
        score = novelty_score(labels(1, 1, 1, 1, 0), confidences(**{f'v{17 * largest}': 4}))
        assert score * math.log(4) == pytest.approx(min(entropies), abs=1e-9)


def test_score_falls_with_confidence_and_with_classes() -> None:
    by_confidence = [novelty_score(labels(3, 3, 3, 0), confidences(**{f'v{v}': 9})) for v in range(85, 256)]
    assert (np.diff(by_confidence) <= 1e-12).all()
    assert by_confidence[-1] < by_confidence[0]
    by_classes = [novelty_score(labels(9 - n, n, 0, 0), confidences(v250=9)) for n in range(5)]
    assert (np.diff(by_classes) < 0).all()


def test_unlabelled_pixels() -> None:
    sure = confidences(v255=10)
    assert novelty_score(labels(5, 5, 0), sure) == novelty_score(labels(2, 2, 6), sure)
    assert novelty_score(labels(0, 0, 10), sure) == pytest.approx(1)
    assert novelty_score(labels(0, 0, 10), confidences(v0=10)) == pytest.approx(2)


@pytest.mark.parametrize(
    ('counts', 'pixels'),
    [(labels(9), 9), (labels(9, 0), 9), (labels(0, 0, 0), 0)],
    ids=['none', 'one', 'empty'],
)
def test_score_is_not_defined(counts: Counts, pixels: int) -> None:
    assert math.isnan(novelty_score(counts, confidences(v255=pixels)))


def test_threshold_of_a_model_that_knows_streets() -> None:
    assert novelty_threshold([0.5, 0.4], [0.9, 0.95]) == THRESHOLD
    assert novelty_threshold([0.5, math.nan], []) == THRESHOLD


@pytest.mark.parametrize('golden', [[], [math.nan], [0.9, 0.7]])
def test_threshold_from_the_recording(golden: list[float]) -> None:
    scores = [0.6, 0.7, 0.8, math.nan, 0.9, 2.0]
    # median 0.8; distances from it 0.2, 0.1, 0, 0.1, 1.2 with the median 0.1
    assert novelty_threshold(golden, scores) == pytest.approx(0.8 + 3 * 0.14826)
    assert novelty_threshold(golden, np.full(9, 0.7)) == pytest.approx(0.7 + LEAST_EXCESS)
    assert math.isnan(novelty_threshold(golden, [math.nan]))
