"""Accuracy of a pipeline on a data set."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import DatasetError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.labels import Counts, class_average, confusion_matrix, iou, mean_iou, pixel_accuracy

Watch = Callable[[int, UInt8Array, UInt8Array], None]
"""Is shown the number of an image, its true labels and those of the model, (H, W) uint8 each."""


@dataclass(frozen=True)
class Accuracy:
    """What was counted, and how long each image took.

    Attributes:
        classes: of the data set.
        matrix: (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
        latency_ms: (N,) float64, of the pipeline, an image each.
    """

    classes: ClassSet
    matrix: Counts
    latency_ms: npt.NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """Fractions 0..1 under the keys that all reports share; null where a class does not occur."""
        values = [None if np.isnan(v) else float(v) for v in iou(self.matrix)]
        p50, p90, p99 = (float(v) for v in np.percentile(self.latency_ms, (50, 90, 99)))
        return {
            'n_images': len(self.latency_ms),
            'mean_iou': mean_iou(self.matrix),
            'class_average': class_average(self.matrix),
            'pixel_accuracy': pixel_accuracy(self.matrix),
            'class_iou': dict(zip(self.classes.names, values, strict=True)),
            'confusion_matrix': self.matrix.tolist(),
            'latency_ms': {'p50': p50, 'p90': p90, 'p99': p99, 'max': float(self.latency_ms.max())},
        }

    def as_text(self) -> str:
        """Per-class IoU, the averages, and the confusion matrix in percent of each true class."""
        names = self.classes.names
        width = max(len(name) for name in names)
        lines = [f'{"class":{width}}  IoU %']
        by_name = zip(names, iou(self.matrix), strict=True)
        lines += [f'{name:{width}}  {100 * value:5.1f}' for name, value in by_name]
        lines += [
            f'{"mean IoU":{width}}  {100 * mean_iou(self.matrix):5.2f}',
            f'{"class average":{width}}  {100 * class_average(self.matrix):5.2f}',
            f'{"pixels right":{width}}  {100 * pixel_accuracy(self.matrix):5.2f}',
            '',
            'confusion: rows true, columns predicted, percent of the row; last column unlabelled',
            ' ' * width + ''.join(f'{column:>6}' for column in [*range(len(names)), '-']),
        ]
        totals = np.maximum(self.matrix.sum(axis=1), 1)
        for name, row, total in zip(names, self.matrix, totals, strict=True):
            lines.append(f'{name:{width}}' + ''.join(f'{100 * value / total:6.1f}' for value in row))
        return '\n'.join(lines)


def measure_accuracy(segmenter: Segmenter, dataset: Dataset, watch: Watch | None = None) -> Accuracy:
    """One confusion matrix over all images of a data set, void left out.

    Args:
        segmenter: gives the labels.
        dataset: images and true labels.
        watch: is shown each image's labels.

    Raises:
        DatasetError: its classes are not the model's.
    """
    if segmenter.classes.names != dataset.classes.names:
        raise DatasetError(
            f'the model tells {segmenter.classes.names} apart, the data set {dataset.classes.names}; '
            'choose a model of the same classes'
        )
    n_classes = len(dataset.classes)
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    latency_ms = np.zeros(len(dataset))
    for index in tqdm(range(len(dataset)), desc='evaluating', unit='image', disable=None):
        image, truth = dataset[index]
        started = time.perf_counter()
        prediction = segmenter(image)
        latency_ms[index] = 1e3 * (time.perf_counter() - started)
        matrix += confusion_matrix(truth, prediction.labels, n_classes)
        if watch is not None:
            watch(index, truth, prediction.labels)
    return Accuracy(dataset.classes, matrix, latency_ms)
