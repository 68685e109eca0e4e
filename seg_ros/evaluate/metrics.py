"""Accuracy of label images by one confusion matrix over all images, as the CamVid and PASCAL papers count."""

import numpy as np
import numpy.typing as npt

from seg_ros.types import UNLABELLED, UInt8Array

Counts = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]


def confusion_matrix(truth: UInt8Array, labels: UInt8Array, n_classes: int) -> Counts:
    """Count pixels by true and predicted class.

    Args:
        truth: (H, W) uint8 class ids; 255 is void and not counted.
        labels: (H, W) uint8 class ids; 255 says "unlabelled", which counts as wrong.
        n_classes: K.

    Returns:
        (K, K + 1) int64: rows are true classes, columns predicted ones, the last column unlabelled.
    """
    counted = truth != UNLABELLED
    columns = np.minimum(labels[counted], n_classes).astype(np.int64)
    cells = truth[counted].astype(np.int64) * (n_classes + 1) + columns
    return np.bincount(cells, minlength=n_classes * (n_classes + 1)).reshape(n_classes, n_classes + 1)


def iou(matrix: Counts) -> Fractions:
    """Intersection over union of each class, from :func:`confusion_matrix`; NaN where a class never occurs.

    Returns:
        (K,) float64 in 0..1.
    """
    hits = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(axis=1) + matrix.sum(axis=0)[: len(hits)] - hits
    values: Fractions = np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)
    return values


def mean_iou(matrix: Counts) -> float:
    """Mean of :func:`iou` over the classes that occur; NaN if none does."""
    values = iou(matrix)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def class_average(matrix: Counts) -> float:
    """Mean over the true classes that occur of the share of their pixels that are right; NaN if none does."""
    totals = matrix.sum(axis=1)
    present = totals > 0
    return float((np.diagonal(matrix)[present] / totals[present]).mean()) if present.any() else float('nan')


def pixel_accuracy(matrix: Counts) -> float:
    """Share of the counted pixels that are right; NaN if there are none."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float('nan')
