import math

import numpy as np
import pytest

from seg_ros.errors import ParameterError
from seg_ros.metrics.calibration import (
    calibration_counts,
    calibration_errors,
    expected_calibration_error,
    reliability,
)
from seg_ros.metrics.labels import Counts


def some_counts(seed: int) -> Counts:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 40, (256, 2)) * (rng.random((256, 1)) < 0.3)


def pixels_of(counts: Counts) -> list[tuple[float, bool]]:
    """Confidence of each counted pixel, and whether it is right."""
    return [
        (value / 255, right == 1)
        for value in range(256)
        for right in (0, 1)
        for _ in range(counts[value, right])
    ]


def brute_force_error(pixels: list[tuple[float, bool]], n_bins: int) -> float:
    """Equation 3 of Guo et al., pixel by pixel, with the bins of the paper."""
    total = 0.0
    for m in range(n_bins):
        inside = [
            (confidence, right)
            for confidence, right in pixels
            if (m / n_bins < confidence + 1e-12 and confidence <= (m + 1) / n_bins + 1e-12)
            and not (m and abs(confidence - m / n_bins) < 1e-12)
        ]
        if inside:
            mean_confidence = sum(confidence for confidence, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            total += len(inside) / len(pixels) * abs(accuracy - mean_confidence)
    return total


@pytest.mark.parametrize('n_bins', [1, 2, 5, 15, 17, 255])
def test_error_equals_the_brute_force(n_bins: int) -> None:
    counts = some_counts(n_bins)
    expected = brute_force_error(pixels_of(counts), n_bins)
    assert expected_calibration_error(counts, n_bins) == pytest.approx(expected, abs=1e-12)


def test_error_by_hand() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[255] = 10, 30  # says 1, right at 0.75
    counts[51] = 8, 2  # says 0.2, right at 0.2
    assert expected_calibration_error(counts) == pytest.approx(40 / 50 * 0.25)
    assert expected_calibration_error(counts * 1000) == expected_calibration_error(counts)
    assert math.isnan(expected_calibration_error(0 * counts))


def test_many_errors_at_once() -> None:
    batch = np.stack([some_counts(1), some_counts(2), np.zeros((256, 2), np.int64)])
    np.testing.assert_array_equal(calibration_errors(batch), [expected_calibration_error(c) for c in batch])


def test_reliability() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[255], counts[250], counts[0] = (1, 5), (2, 0), (2, 0)
    points = reliability(counts)
    assert len(points) == 15
    assert points[-1] == pytest.approx(((6 * 255 + 2 * 250) / 8 / 255, 5 / 8, 0.8))
    assert points[0] == pytest.approx((0, 0, 0.2))
    assert all(math.isnan(c) and math.isnan(a) and f == 0 for c, a, f in points[1:-1])
    error = sum(f * abs(a - c) for c, a, f in points if f)
    assert expected_calibration_error(counts) == pytest.approx(error)


def test_bins_end_at_their_upper_edge() -> None:
    counts = np.zeros((256, 2), np.int64)
    counts[51] = 0, 1  # exactly a fifth
    assert [fraction for _, _, fraction in reliability(counts, 5)] == [1, 0, 0, 0, 0]
    counts[51], counts[52] = (0, 0), (0, 1)
    assert [fraction for _, _, fraction in reliability(counts, 5)] == [0, 1, 0, 0, 0]


def test_counts_of_an_image() -> None:
    truth = np.array([[0, 1, 2, 255, 1]], np.uint8)
    labels = np.array([[0, 2, 255, 0, 1]], np.uint8)
    confidence = np.array([[200, 100, 30, 90, 200]], np.uint8)
    counts = calibration_counts(truth, labels, confidence)
    expected = np.zeros((256, 2), np.int64)
    expected[200, 1], expected[100, 0] = 2, 1
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize('n_bins', [0, -1, 256])
def test_number_of_bins_is_checked(n_bins: int) -> None:
    with pytest.raises(ParameterError, match='n_bins'):
        reliability(some_counts(0), n_bins)
