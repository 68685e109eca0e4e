import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_ros.metrics import batched, labels
from seg_ros.metrics.calibration import expected_calibration_error
from seg_ros.metrics.labels import Counts

NUMBERS = st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 2**40))


@st.composite
def batches(draw: st.DrawFn, *shape: int) -> Counts:
    n = draw(st.integers(1, 4))
    return draw(arrays(np.int64, (n, *shape), elements=NUMBERS))


@st.composite
def matrices(draw: st.DrawFn) -> Counts:
    n_classes = draw(st.integers(1, 12))
    return draw(batches(n_classes, n_classes + 1))


@st.composite
def boundary_bands(draw: st.DrawFn) -> Counts:
    counts = draw(batches(draw(st.integers(1, 12)), 2))
    counts[..., 1] += counts[..., 0]
    return counts


def same(found: npt.NDArray[np.float64], expected: list[float] | list[npt.NDArray[np.float64]]) -> None:
    np.testing.assert_array_equal(found, np.array(expected))


@given(matrices())
@settings(max_examples=60, deadline=None)
def test_figures_of_confusion_equal_those_of_one_matrix(batch: Counts) -> None:
    same(batched.class_iou(batch), [labels.iou(matrix) for matrix in batch])
    same(batched.mean_iou(batch), [labels.mean_iou(matrix) for matrix in batch])
    same(batched.pixel_accuracy(batch), [labels.pixel_accuracy(matrix) for matrix in batch])


@given(boundary_bands())
@settings(max_examples=60, deadline=None)
def test_figures_of_boundaries_equal_those_of_one_image(batch: Counts) -> None:
    same(batched.boundary_iou(batch), [labels.boundary_iou(counts) for counts in batch])
    same(batched.mean_boundary_iou(batch), [labels.mean_boundary_iou(counts) for counts in batch])


def test_nothing_counted() -> None:
    assert np.isnan(batched.mean_iou(np.zeros((2, 3, 4), np.int64))).all()
    assert np.isnan(batched.pixel_accuracy(np.zeros((2, 3, 4), np.int64))).all()
    assert np.isnan(batched.mean_boundary_iou(np.zeros((2, 3, 2), np.int64))).all()
    assert np.isnan(batched.fraction_of(np.zeros((2, 2), np.int64))).all()
    assert np.isnan(batched.mean_confidence(np.zeros((2, 256), np.int64))).all()


def test_fractions_and_confidence_by_hand() -> None:
    same(batched.fraction_of(np.array([[1, 4], [0, 0], [3, 3]])), [0.25, np.nan, 1])
    confidence = np.zeros((2, 256), np.int64)
    confidence[0, [0, 255]], confidence[1, 51] = 2, 7
    same(batched.mean_confidence(confidence), [0.5, 0.2])


def test_calibration_error_equals_that_of_one_image() -> None:
    batch = np.random.default_rng(0).integers(0, 9, (3, 256, 2))
    same(batched.expected_calibration_error(batch), [expected_calibration_error(counts) for counts in batch])
