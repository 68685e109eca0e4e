import numpy as np
import pytest

from seg_ros.metrics.labels import (
    boundary_counts,
    boundary_iou,
    class_average,
    confusion_matrix,
    iou,
    mean_boundary_iou,
    mean_iou,
    pixel_accuracy,
)

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


def near_an_edge(labels: np.ndarray, row: int, column: int, reach: int) -> bool:
    """Whether another class, or what is not in the image, lies within a distance of a pixel."""
    height, width = labels.shape
    for y in range(row - reach, row + reach + 1):
        for x in range(column - reach, column + reach + 1):
            if not (0 <= y < height and 0 <= x < width) or labels[y, x] != labels[row, column]:
                return True
    return False


@pytest.mark.parametrize(('n_classes', 'distance'), [(2, 0.02), (3, 0.06), (5, 0.1)])
def test_boundary_iou_matches_a_slow_loop(n_classes: int, distance: float) -> None:
    rng = np.random.default_rng(n_classes)
    ids = [*range(n_classes), 255]
    truth, labels = (np.kron(rng.choice(ids, (4, 5)), np.ones((9, 8), int)).astype(np.uint8) for _ in 'ab')
    labels = np.roll(labels, 3, axis=1)
    seen = np.where(truth == 255, 255, labels)
    reach = {0.02: 1, 0.06: 3, 0.1: 5}[distance]  # of a diagonal of 53.8
    ious = []
    for k in range(n_classes):
        bands = [
            {
                (y, x)
                for y, x in zip(*np.nonzero(part == k), strict=True)
                if near_an_edge(part, int(y), int(x), reach)
            }
            for part in (truth, seen)
        ]
        ious.append(len(bands[0] & bands[1]) / len(bands[0] | bands[1]))
    counts = boundary_counts(truth, labels, n_classes, distance=distance)
    np.testing.assert_allclose(boundary_iou(counts), ious)
    assert mean_boundary_iou(counts) == pytest.approx(np.mean(ious))


def test_boundary_iou_by_hand() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[30:70, 30:70] = 1
    labels = np.zeros_like(truth)
    labels[31:71, 30:70] = 1  # a pixel lower
    counts = boundary_counts(truth, labels, 3)  # bands of 3 pixels: 2 % of 141
    both, either = counts[1]
    # Two rings of 40 * 40 - 34 * 34 = 444 pixels. Of the 39 rows of both, the first and the last two lie in
    # both rings over 40 columns, the 35 between over 6.
    assert both == 35 * 6 + 4 * 40
    assert either == 2 * 444 - both
    assert np.isnan(boundary_iou(counts)[2])
    assert mean_boundary_iou(boundary_counts(truth, truth, 2)) == 1
    assert np.isnan(mean_boundary_iou(boundary_counts(np.full_like(truth, 255), labels, 2)))


def test_boundary_iou_sees_what_iou_does_not() -> None:
    truth = np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 1
    labels = np.zeros_like(truth)
    labels[:, 102:] = 1
    ratio = mean_boundary_iou(boundary_counts(truth, labels, 2)) / mean_iou(
        confusion_matrix(truth, labels, 2)
    )
    assert ratio < 0.9
