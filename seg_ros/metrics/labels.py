"""Accuracy of label images by one confusion matrix over all images, as the CamVid and PASCAL papers count.

Boundary IoU is that of B. Cheng, R. Girshick, P. Dollar, A. Berg, A. Kirillov, "Boundary IoU: improving
object-centric image segmentation evaluation", CVPR 2021, of classes instead of objects. Deliberate
difference: where the truth is void nothing is compared, so the edge of void counts as an edge of both.
"""

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array

Counts = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

BOUNDARY_DISTANCE = 0.02
"""Width of the band along boundaries, as a share of the image's diagonal (Cheng et al., section 5)."""


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


def boundary_counts(
    truth: UInt8Array, labels: UInt8Array, n_classes: int, *, distance: float = BOUNDARY_DISTANCE
) -> Counts:
    """Count the pixels of each class that lie in it within a distance of its boundary.

    The border of the image is a boundary too, as in the authors' code. Distances are the larger of rows and
    columns; add counts of many images, then :func:`boundary_iou`.

    Args:
        truth: (H, W) uint8 class ids; 255 is void.
        labels: (H, W) uint8 class ids, 255 for none.
        n_classes: K.
        distance: share of the diagonal, above 0; rounded to pixels, 1 or more.

    Returns:
        (K, 2) int64: pixels in the bands of both truth and labels, and in either.
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
    """IoU of each class from :func:`boundary_counts`, (K,) float64 in 0..1; NaN where it never occurs."""
    hits, either = counts.T.astype(np.float64)
    values: Fractions = np.divide(hits, either, out=np.full_like(hits, np.nan), where=either > 0)
    return values


def mean_boundary_iou(counts: Counts) -> float:
    """Mean of :func:`boundary_iou` over the classes that occur; NaN if none does."""
    values = boundary_iou(counts)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _inner_band(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Pixels of a mask (H, W) that have one outside it, or outside the image, within ``reach``."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    return np.asarray(mask & (inside == 0))
