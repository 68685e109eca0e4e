"""Checks of the labels of a training run before it starts."""

import logging

import numpy as np

from seg_ros.arrays import Int64Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.inventory import absent_classes, problem_of
from seg_ros.errors import RecipeError
from seg_ros.training.sources import TrainingData

log = logging.getLogger(__name__)


def check_labels(data: TrainingData, *, is_quiet: bool = False) -> None:
    """Refuse labels that nothing can be learnt from or measured on, and warn of classes without pixels.

    Args:
        data: Data of the run, in memory.
        is_quiet: Log nothing, because another process does.

    Raises:
        RecipeError: Fewer than two classes have pixels in the training data, or in the validation data.
    """
    parts = {'train': np.sum([_pixels(part) for part in data.train], axis=0)}
    if data.validation is not None:
        parts['validation'] = _pixels(data.validation)
    for key, pixels in parts.items():
        problem = problem_of(pixels, data.classes)
        if problem:
            raise RecipeError(f'{key}: {problem}')
        absent = absent_classes(pixels, data.classes)
        if absent and not is_quiet:
            log.warning('%s: no pixel of %s', key, ', '.join(absent))


def _pixels(dataset: Dataset) -> Int64Array:
    """Number of pixels with each value, (256,) int64."""
    pixels = np.zeros(256, np.int64)
    for index in range(len(dataset)):
        pixels += np.bincount(dataset[index][1].ravel(), minlength=256)
    return pixels
