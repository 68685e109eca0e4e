"""Novelty: how unlike a frame is to the images that a model knows.

A model that knows a scene tells its places apart: it is sure of most pixels, and they have several classes.
The score measures this by the mutual information of place and class, which is the entropy of the classes of
all pixels less the mean entropy of the classes of one pixel. T. Salimans et al., "Improved techniques for
training GANs", NIPS 2016, section 4, judge sets of images so (inception score); here the set is the pixels of
a frame. Deliberate difference: only labels and confidence are needed, so the entropy of a pixel is the
smallest that its confidence allows.

Energy, entropy, margin and largest score were tried too: docs/experiments/novelty.md has the figures.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from seg_ros.arrays import Float64Array
from seg_ros.metrics.labels import Counts

THRESHOLD = 0.55
"""Score above which a frame is out of distribution, for a model that knows streets."""

LEAST_EXCESS = 0.05
"""Least difference between the median of a recording and the threshold that is derived from it."""


def novelty_score(label_counts: Counts, confidence_counts: Counts) -> float:
    """Score of one frame; higher is more unlike.

    Args:
        label_counts: (K + 1,) int64, number of pixels of each predicted class, the last one unlabelled.
        confidence_counts: (256,) int64, number of pixels of each confidence, round(255 * probability).

    Returns:
        Score, 0 or more: 0 for equal fractions of all classes and full confidence, 1 for a single class or
        no class at all at full confidence, up to 2 without confidence. NaN for a model with fewer than two
        classes, and for a frame without pixels.
    """
    n_classes, n_pixels = len(label_counts) - 1, confidence_counts.sum()
    if n_classes < 2 or not n_pixels:
        return float('nan')
    shares = label_counts[:-1] / max(label_counts[:-1].sum(), 1)
    of_frame = -(shares * np.log(np.where(shares > 0, shares, 1))).sum()
    of_pixel = confidence_counts @ _smallest_entropies(n_classes) / n_pixels
    return float(1 - (of_frame - of_pixel) / np.log(n_classes))


def novelty_threshold(golden_scores: Sequence[float], scores: Sequence[float] | Float64Array) -> float:
    """Score above which a frame is out of distribution.

    The golden record in a model file has rendered streets. A model that knows them has a low score there, and
    gets the threshold for streets, so that a whole recording may be out of distribution. For a model of other
    places only the recording itself is known. Its threshold is three deviations above the median of the
    recording; a deviation is 1.4826 times the median distance from the median. Then only frames that are
    unlike most of the recording exceed it.

    Args:
        golden_scores: Scores of the images of the golden record.
        scores: Scores of the frames of the recording; NaN is left out.

    Returns:
        Threshold; NaN for a model of other places without frames.
    """
    known = [score for score in golden_scores if np.isfinite(score)]
    if known and np.mean(known) <= THRESHOLD:
        return THRESHOLD
    values = np.asarray(scores, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float('nan')
    median = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - median))
    return float(median + max(3 * deviation, LEAST_EXCESS))


@lru_cache(maxsize=16)
def _smallest_entropies(n_classes: int) -> Float64Array:
    """Smallest entropy, in nats, of the classes of a pixel for each confidence, (256,).

    If the largest probability is p, the entropy is smallest if as many classes as possible have p, and one
    more has the rest.
    """
    largest = np.maximum(np.arange(256) / 255, 1 / n_classes)
    n_full = np.floor(1 / largest + 1e-9)
    rest = np.clip(1 - n_full * largest, 0, None)
    entropies: Float64Array = -n_full * largest * np.log(largest)
    entropies -= rest * np.log(np.where(rest > 0, rest, 1))
    return entropies
