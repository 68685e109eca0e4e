"""Accuracy of label images, from one confusion matrix over all images as in the CamVid and PASCAL papers.

Boundary IoU is that of B. Cheng, R. Girshick, P. Dollar, A. Berg, A. Kirillov, "Boundary IoU: improving
object-centric image segmentation evaluation", CVPR 2021, for classes instead of objects. Deliberate
difference: void pixels of the truth are not compared, so the edge of void is a boundary in both images.
"""

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array

Counts = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

BOUNDARY_DISTANCE = 0.02
"""Width of the band along boundaries, as a fraction of the image diagonal (Cheng et al., section 5)."""


def confusion_matrix(truth: UInt8Array, labels: UInt8Array, n_classes: int) -> Counts:
    """Count pixels by true and predicted class.

    Args:
        truth: (H, W) uint8 class ids; 255 is void and not counted.
        labels: (H, W) uint8 class ids; 255 is unlabelled, which counts as wrong.
        n_classes: Number of classes, K.

    Returns:
        (K, K + 1) int64: rows are true classes, columns predicted ones, the last column unlabelled.
    """
    counted = truth != UNLABELLED
    columns = np.minimum(labels[counted], n_classes).astype(np.int64)
    cells = truth[counted].astype(np.int64) * (n_classes + 1) + columns
    return np.bincount(cells, minlength=n_classes * (n_classes + 1)).reshape(n_classes, n_classes + 1)


def iou(matrix: Counts) -> Fractions:
    """Intersection over union of each class from :func:`confusion_matrix`; NaN if the class never occurs.

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
    """Mean fraction of correct pixels over the true classes that occur; NaN if none does."""
    totals = matrix.sum(axis=1)
    present = totals > 0
    return float((np.diagonal(matrix)[present] / totals[present]).mean()) if present.any() else float('nan')


def pixel_accuracy(matrix: Counts) -> float:
    """Fraction of the counted pixels that are correct; NaN if there are none."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float('nan')


def boundary_counts(
    truth: UInt8Array, labels: UInt8Array, n_classes: int, *, distance: float = BOUNDARY_DISTANCE
) -> Counts:
    """Count the pixels of each class within a distance of its boundary; the input of :func:`boundary_iou`.

    The border of the image is a boundary too, as in the authors' code. A distance is the larger of the
    distances in rows and columns. The counts of several images may be added.

    Args:
        truth: (H, W) uint8 class ids; 255 is void.
        labels: (H, W) uint8 class ids; 255 is unlabelled.
        n_classes: Number of classes, K.
        distance: Fraction of the diagonal, above 0; rounded to pixels, at least 1.

    Returns:
        (K, 2) int64: number of pixels in the bands of both truth and labels, and in the band of at least one.
    """
    reach = max(round(distance * float(np.hypot(*truth.shape))), 1)
    seen = np.where(truth == UNLABELLED, truth, labels)
    counts = np.zeros((n_classes, 2), np.int64)
    for k in np.union1d(truth, seen):
        if k < n_classes:
            one, other = (_inner_band(part == k, reach) for part in (truth, seen))
            counts[k] = np.count_nonzero(one & other), np.count_nonzero(one | other)
    return counts


def boundary_iou(counts: Counts) -> Fractions:
    """IoU of each class from :func:`boundary_counts`, (K,) float64 in 0..1; NaN if the class never occurs."""
    hits, either = counts.T.astype(np.float64)
    values: Fractions = np.divide(hits, either, out=np.full_like(hits, np.nan), where=either > 0)
    return values


def mean_boundary_iou(counts: Counts) -> float:
    """Mean of :func:`boundary_iou` over the classes that occur; NaN if none does."""
    values = boundary_iou(counts)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _inner_band(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Pixels of a mask (H, W) with a pixel outside the mask or the image within ``reach``."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(mask & (inside == 0))
