"""Figures of many counts at once, for the bootstrap: (B, ...) counts -> (B,) values.

For a single one they equal the functions of :mod:`seg_ros.metrics.labels` and
:mod:`seg_ros.metrics.calibration`.
"""

import numpy as np

from seg_ros.metrics.calibration import calibration_errors
from seg_ros.metrics.labels import Counts, Fractions


def class_iou(matrices: Counts) -> Fractions:
    """IoU of each class, (B, K) float64 in 0..1, of matrices (B, K, K + 1); NaN if it never occurs."""
    hits = _hits(matrices)
    union = matrices.sum(axis=2) + matrices.sum(axis=1)[:, :-1] - hits
    return _ratio(hits, union)


def mean_iou(matrices: Counts) -> Fractions:
    """Mean IoU, (B,) float64 in 0..1, of confusion matrices (B, K, K + 1); NaN without any class."""
    return _mean_of_known(class_iou(matrices))


def pixel_accuracy(matrices: Counts) -> Fractions:
    """Fraction of correct pixels, (B,) float64, of confusion matrices (B, K, K + 1); NaN without pixels."""
    return _ratio(_hits(matrices).sum(axis=1), matrices.sum(axis=(1, 2)))


def boundary_iou(counts: Counts) -> Fractions:
    """Boundary IoU of each class, (B, K) float64, of counts (B, K, 2); NaN for a class that never occurs."""
    return _ratio(counts[..., 0], counts[..., 1])


def mean_boundary_iou(counts: Counts) -> Fractions:
    """Mean boundary IoU, (B,) float64, of counts (B, K, 2); NaN without any class."""
    return _mean_of_known(boundary_iou(counts))


def fraction_of(counts: Counts) -> Fractions:
    """First count divided by the second, (B,) float64, of counts (B, 2), e.g. changed and compared."""
    return _ratio(counts[:, 0], counts[:, 1])


def expected_calibration_error(counts: Counts) -> Fractions:
    """Expected calibration error, (B,) float64 in 0..1, of counts (B, 256, 2); NaN without pixels."""
    return calibration_errors(counts)


def mean_confidence(counts: Counts) -> Fractions:
    """Mean confidence, (B,) float64 in 0..1, of pixels by confidence (B, 256); NaN without pixels."""
    return _ratio(counts @ np.arange(counts.shape[1]), (counts.shape[1] - 1) * counts.sum(axis=1))


def _hits(matrices: Counts) -> Counts:
    """Diagonals, (B, K)."""
    hits: Counts = np.diagonal(matrices, axis1=1, axis2=2)
    return hits


def _ratio(part: Counts, whole: Counts) -> Fractions:
    """Part divided by whole; NaN where the whole is 0."""
    empty = np.full(part.shape, np.nan)
    values: Fractions = np.divide(part, whole, out=empty, where=whole > 0, dtype=np.float64)
    return values


def _mean_of_known(values: Fractions) -> Fractions:
    """Mean of each row (B, K) over values that are not NaN; NaN if all are."""
    known = np.isfinite(values)
    n_known = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    means: Fractions = np.divide(total, n_known, out=np.full(len(values), np.nan), where=n_known > 0)
    return means
