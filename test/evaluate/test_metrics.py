import numpy as np
import pytest

from seg_ros.evaluate.metrics import class_average, confusion_matrix, iou, mean_iou, pixel_accuracy

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
LABELS = np.array([[0, 0, 1, 1], [1, 255, 0, 255]], np.uint8)


def test_a_small_example_by_hand() -> None:
    matrix = confusion_matrix(TRUTH, LABELS, 3)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 0, 1], [0, 0, 0, 0]]
    # Class 0: 2 hits of 3 true or predicted. Class 1: 2 of 4. Class 2 never occurs.
    np.testing.assert_allclose(iou(matrix), [2 / 3, 2 / 4, np.nan])
    assert mean_iou(matrix) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert class_average(matrix) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert pixel_accuracy(matrix) == pytest.approx(4 / 6)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    matrix = confusion_matrix(np.zeros((1, 4), np.uint8), np.array([[0, 0, 0, 1]], np.uint8), 2)
    np.testing.assert_allclose(iou(matrix), [0.75, 0])
    assert class_average(matrix) == 0.75


def test_nothing_counted_gives_nan() -> None:
    matrix = confusion_matrix(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8), 2)
    assert not matrix.any()
    assert np.isnan([mean_iou(matrix), class_average(matrix), pixel_accuracy(matrix)]).all()


@pytest.mark.parametrize('n_classes', [1, 2, 11, 255])
def test_it_matches_a_slow_loop(n_classes: int) -> None:
    rng = np.random.default_rng(n_classes)
    ids = [*range(n_classes), 255]
    truth, labels = (rng.choice(ids, (23, 31)).astype(np.uint8) for _ in range(2))
    slow = np.zeros((n_classes, n_classes + 1), int)
    for t, p in zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if t != 255:
            slow[t, n_classes if p == 255 else p] += 1
    matrix = confusion_matrix(truth, labels, n_classes)
    np.testing.assert_array_equal(matrix, slow)
    for k in range(n_classes):
        hits = ((truth == k) & (labels == k)).sum()
        either = ((truth == k) | ((labels == k) & (truth != 255))).sum()
        assert iou(matrix)[k] == (
            pytest.approx(hits / either) if either else pytest.approx(np.nan, nan_ok=True)
        )
