"""Calibration: whether a model is right as often as its confidence says.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017:
reliability diagrams (equations 1 and 2) and the expected calibration error (equation 3). A prediction is a
pixel.
"""

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.metrics.labels import Counts, Fractions

N_BINS = 15
"""Number of bins of equal width (Guo et al., section 4)."""

N_LEVELS = 256
"""Number of values of confidence; value v means v / 255."""


def calibration_counts(truth: UInt8Array, labels: UInt8Array, confidence: UInt8Array) -> Counts:
    """Count the right and wrong pixels of each value of confidence. The counts of images may be added.

    A pixel that the model leaves unlabelled is not counted: the model does not answer there, so it is neither
    right nor wrong. (:func:`seg_ros.metrics.labels.confusion_matrix` counts it as wrong.)

    Args:
        truth: (H, W) uint8 class ids; 255 is void and not counted.
        labels: (H, W) uint8 class ids; 255 is unlabelled and not counted.
        confidence: (H, W) uint8, round(255 * largest softmax probability).

    Returns:
        (256, 2) int64: number of wrong and of right pixels for each value of confidence.
    """
    counted = (truth != UNLABELLED) & (labels != UNLABELLED)
    cells = 2 * confidence.astype(np.uint16) + (truth == labels)
    return np.bincount(cells[counted], minlength=2 * N_LEVELS).astype(np.int64).reshape(N_LEVELS, 2)


def reliability(counts: Counts, n_bins: int = N_BINS) -> list[tuple[float, float, float]]:
    """Points of the reliability diagram, by rising confidence.

    Args:
        counts: (256, 2) int64 of :func:`calibration_counts`, or a sum of such.
        n_bins: Number of bins of equal width, 1 to 255.

    Returns:
        For each bin the mean confidence of its pixels, their accuracy, both 0..1, and the fraction of all
        pixels that are in the bin. Confidence and accuracy of an empty bin are NaN, its fraction is 0.

    Raises:
        ParameterError: The number of bins is out of range.
    """
    confidence, accuracy, fraction = _bins(counts[None], n_bins)
    return list(zip(confidence[0].tolist(), accuracy[0].tolist(), fraction[0].tolist(), strict=True))


def expected_calibration_error(counts: Counts, n_bins: int = N_BINS) -> float:
    """Mean difference between accuracy and confidence over the bins, weighted by their pixels.

    Args:
        counts: (256, 2) int64 of :func:`calibration_counts`, or a sum of such.
        n_bins: Number of bins of equal width, 1 to 255.

    Returns:
        Error, 0..1; NaN if no pixel was counted.

    Raises:
        ParameterError: The number of bins is out of range.
    """
    return float(calibration_errors(counts[None], n_bins)[0])


def calibration_errors(counts: Counts, n_bins: int = N_BINS) -> Fractions:
    """:func:`expected_calibration_error` of each of many counts (B, 256, 2), (B,) float64."""
    confidence, accuracy, fraction = _bins(counts, n_bins)
    gaps = np.where(fraction > 0, np.abs(accuracy - confidence), 0)
    errors: Fractions = np.where(counts.any(axis=(1, 2)), (fraction * gaps).sum(axis=1), np.nan)
    return errors


def _bins(counts: Counts, n_bins: int) -> tuple[Fractions, Fractions, Fractions]:
    """Mean confidence, accuracy and fraction of pixels, each (B, n_bins), of counts (B, 256, 2)."""
    if not 1 <= n_bins < N_LEVELS:
        raise ParameterError(f'n_bins is {n_bins}; expected 1 to {N_LEVELS - 1}')
    values = np.arange(N_LEVELS)
    # bin m holds the confidences above m / n_bins and up to (m + 1) / n_bins; 0 is in the first bin
    members = np.maximum(-(-values * n_bins // (N_LEVELS - 1)) - 1, 0)
    starts = np.searchsorted(members, np.arange(n_bins))
    pixels, right, sums = (
        np.add.reduceat(part, starts, axis=1).astype(np.float64)
        for part in (counts.sum(axis=2), counts[..., 1], counts.sum(axis=2) * values)
    )
    filled = pixels > 0
    confidence, accuracy = (
        np.divide(part, scale * pixels, out=np.full_like(pixels, np.nan), where=filled)
        for part, scale in ((sums, N_LEVELS - 1), (right, 1))
    )
    return confidence, accuracy, pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
