"""Temperature of a model: the divisor of its scores that makes its confidence honest.

C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017, section
4.2 and equation 9. Labels do not change. Images that the model has not learnt are needed: on its own training
data a model is right more often than elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.errors import DatasetError
from seg_ros.evaluation.class_translation import ClassTranslation
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.calibration import N_LEVELS, calibration_errors
from seg_ros.metrics.labels import Counts

_STEP = 4
"""Every fourth row and column of pixels counts: neighbours are alike."""

_RANGE = 0.1, 10.0
"""Temperatures among which one is searched."""

_AT_END = 1.01
"""Factor within which a temperature is an end of the range."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ScoredPixels:
    """Scores and truth of the labelled pixels of one image.

    Attributes:
        scores: (N, K) float32, less the largest of each pixel.
        allowed: (N, K) bool: the classes that are right.
    """

    scores: Scores
    allowed: npt.NDArray[np.bool_]


class Threshold(NamedTuple):
    """Fractions of pixels that a ``confidence_threshold`` removes.

    Attributes:
        threshold: The threshold, 0..1.
        wrong_removed: Fraction of the wrong pixels that become unlabelled.
        right_removed: Fraction of the right pixels that become unlabelled.
    """

    threshold: float
    wrong_removed: float
    right_removed: float


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and what it does.

    Attributes:
        temperature: Fitted on all images.
        error_before: Expected calibration error at temperature 1, 0..1.
        error_after: The same with a temperature that was fitted on the other half of the images, 0..1.
        counts: (256, 2) int64: wrong and right pixels for each value of confidence at ``temperature``.
    """

    temperature: float
    error_before: float
    error_after: float
    counts: Counts

    def as_json(self) -> dict[str, Any]:
        """Figures under the keys that all reports share."""
        return {
            'temperature': self.temperature,
            'calibration_error_before': self.error_before,
            'calibration_error_after': self.error_after,
            'thresholds': [row._asdict() for row in self.thresholds()],
        }

    def thresholds(self) -> list[Threshold]:
        """Fractions at every tenth, and where half and nine tenths of the wrong pixels go."""
        removed = np.vstack([[0, 0], self.counts.cumsum(axis=0)])  # below each value of confidence
        wrong, right = (removed / np.maximum(self.counts.sum(axis=0), 1)).T
        chosen = {round(0.1 * k * (N_LEVELS - 1)) for k in range(1, 10)}
        chosen |= {int(np.searchsorted(wrong, share)) for share in (0.5, 0.9)}
        return [
            Threshold(min(value / (N_LEVELS - 1), 1.0), float(wrong[value]), float(right[value]))
            for value in sorted(chosen)
        ]


def measure_calibration(segmenter: Segmenter, dataset: Dataset, translation: ClassTranslation) -> Calibration:
    """Fit the temperature of a model on a data set.

    Args:
        segmenter: The model. Its own temperature is ignored.
        dataset: Images that the model has not learnt, with true labels.
        translation: Which classes of the model are right for those of the data set.

    Raises:
        DatasetError: Fewer than two images have labelled pixels, or no temperature fits: the model gives
            labels instead of scores, or what it says has nothing to do with the truth.
    """
    samples = list(_samples(segmenter, dataset, translation))
    if len(samples) < 2:
        raise DatasetError(f'{len(samples)} images have labelled pixels; expected two or more')
    halves = samples[::2], samples[1::2]
    temperature, *crossed = (fit_temperature(part) for part in (samples, *halves))
    coldest, hottest = _RANGE
    if not coldest * _AT_END < temperature < hottest / _AT_END:
        raise DatasetError(
            f'no temperature from {coldest:g} to {hottest:g} fits: the model gives labels instead of scores, '
            'or it is right by chance, or always; check the classes, and take images that it has not learnt'
        )
    before = _counts(samples, 1.0)
    after = sum(
        (_counts(half, t) for half, t in zip(halves[::-1], crossed, strict=True)), np.zeros_like(before)
    )
    error_before, error_after = calibration_errors(np.stack([before, after])).tolist()
    return Calibration(temperature, error_before, error_after, _counts(samples, temperature))


def fit_temperature(samples: list[ScoredPixels]) -> float:
    """Temperature with the smallest mean negative logarithm of the probability of the truth.

    Golden-section search over the logarithm of the temperature, to a thousandth.
    """
    low, high = np.log(_RANGE)
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(samples, np.exp(left)) < negative_log_likelihood(samples, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def negative_log_likelihood(samples: list[ScoredPixels], temperature: float) -> float:
    """Mean over the pixels of -ln of the sum of the probabilities of the right classes."""
    total, n_pixels = 0.0, 0
    for sample in samples:
        powers = np.exp(sample.scores / temperature)
        right = np.maximum((powers * sample.allowed).sum(axis=1), np.finfo(np.float32).tiny)
        total += float((np.log(powers.sum(axis=1)) - np.log(right)).sum())
        n_pixels += len(right)
    return total / n_pixels


def _samples(segmenter: Segmenter, dataset: Dataset, translation: ClassTranslation) -> Iterator[ScoredPixels]:
    for _, (image, truth) in walk(dataset, 'calibrating'):
        scores = segmenter.score(segmenter.resize(image)).scores
        assert scores is not None  # a model with classes gives scores
        known = translation.true_labels(truth)[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP]
        counted = known < len(translation.allowed)
        if counted.any():
            pixels = _at_size(torch.as_tensor(scores), *truth.shape)[counted]
            yield ScoredPixels(
                pixels - pixels.max(axis=1, keepdims=True), translation.allowed[known[counted]]
            )


def _at_size(scores: Tensor, height: int, width: int) -> Scores:
    """Scores of every fourth pixel of the image, (h, w, K) float32."""
    resized = F.interpolate(scores[None].float().cpu(), (height, width), mode='bilinear')[0]
    sampled: Scores = resized[:, _STEP // 2 :: _STEP, _STEP // 2 :: _STEP].permute(1, 2, 0).numpy()
    return sampled


def _counts(samples: list[ScoredPixels], temperature: float) -> Counts:
    """Wrong and right pixels for each value of confidence, (256, 2) int64."""
    counts = np.zeros((N_LEVELS, 2), np.int64)
    for sample in samples:
        probability = 1 / np.exp(sample.scores / temperature).sum(axis=1)
        confidence = np.rint((N_LEVELS - 1) * probability).astype(np.int64)
        best = sample.scores.argmax(axis=1)
        is_right = np.take_along_axis(sample.allowed, best[:, None], axis=1)[:, 0]
        counts += np.bincount(2 * confidence + is_right, minlength=counts.size).reshape(counts.shape)
    return counts
