"""Accuracy of a segmenter on a data set."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.evaluation.class_translation import ClassTranslation
from seg_ros.evaluation.figures import percentiles
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.labels import Counts, class_average, confusion_matrix, iou, mean_iou, pixel_accuracy

Watch = Callable[[int, UInt8Array, UInt8Array], None]
"""Called for each image with its position, its true labels and those of the model, (H, W) uint8 each."""


@dataclass(frozen=True)
class Accuracy:
    """Confusion matrix and latency.

    Attributes:
        classes: Classes of the data set.
        matrix: (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
        latency_ms: (N,) float64, time of the segmenter for each image.
    """

    classes: ClassSet
    matrix: Counts
    latency_ms: npt.NDArray[np.float64]

    def as_json(self) -> dict[str, Any]:
        """Fractions 0..1 under the keys that all reports share; null = the class does not occur."""
        values = [None if np.isnan(v) else float(v) for v in iou(self.matrix)]
        return {
            'n_images': len(self.latency_ms),
            'mean_iou': mean_iou(self.matrix),
            'class_average': class_average(self.matrix),
            'pixel_accuracy': pixel_accuracy(self.matrix),
            'class_iou': dict(zip(self.classes.names, values, strict=True)),
            'confusion_matrix': self.matrix.tolist(),
            'latency_ms': percentiles(self.latency_ms),
        }

    def as_text(self) -> str:
        """Tables: IoU of each class, averages, and the confusion matrix in percent of each true class."""
        names = self.classes.names
        n_classes = int(np.isfinite(iou(self.matrix)).sum())
        averages = {
            'mean IoU': mean_iou(self.matrix),
            'class average': class_average(self.matrix),
            'pixel accuracy': pixel_accuracy(self.matrix),
        }
        width = max(map(len, (*names, *averages)))
        lines = [f'{"class":{width}}  IoU %']
        by_name = zip(names, iou(self.matrix), strict=True)
        lines += [f'{name:{width}}  {100 * value:5.1f}' for name, value in by_name]
        if n_classes > 1:
            lines += [f'{name:{width}}  {100 * value:5.2f}' for name, value in averages.items()]
        else:  # with one class, every answer of that class is perfect
            lines.append(f'no mean: {n_classes} class occurs in these data')
        lines += [
            '',
            'confusion: rows true, columns predicted, percent of the row; last column unlabelled',
            ' ' * width + ''.join(f'{column:>6}' for column in [*range(len(names)), '-']),
        ]
        totals = np.maximum(self.matrix.sum(axis=1), 1)
        for name, row, total in zip(names, self.matrix, totals, strict=True):
            lines.append(f'{name:{width}}' + ''.join(f'{100 * value / total:6.1f}' for value in row))
        return '\n'.join(lines)


def measure_accuracy(
    segmenter: Segmenter,
    dataset: Dataset,
    watch: Watch | None = None,
    translation: ClassTranslation | None = None,
) -> Accuracy:
    """Compute one confusion matrix over all readable images of a data set, without void pixels.

    Args:
        segmenter: Segmenter to measure.
        dataset: Images and true labels.
        watch: Called for each image.
        translation: Which classes of the model are right for those of the data set; None = the same names.

    Raises:
        DatasetError: The model has other classes than the data set, and there is no translation.
    """
    translation = translation or ClassTranslation.between(dataset.classes, segmenter.classes, None)
    n_classes = len(dataset.classes)
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    latency_ms = []
    for index, (image, truth) in walk(dataset, 'evaluating'):
        started = time.perf_counter()
        prediction = segmenter(image)
        latency_ms.append(1e3 * (time.perf_counter() - started))
        truth, labels = translation.true_labels(truth), translation.as_data(truth, prediction.labels)
        matrix += confusion_matrix(truth, labels, n_classes)
        if watch is not None:
            watch(index, truth, labels)
    return Accuracy(dataset.classes, matrix, np.array(latency_ms))
