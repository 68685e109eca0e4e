"""The images on which a model does worst, to be looked at."""

import heapq
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.overlay import Overlay, contact_sheet
from seg_ros.errors import DatasetError, ParameterError
from seg_ros.metrics.labels import confusion_matrix, mean_iou

_WRONG = (230, 40, 40)
_SHEET_WIDTH = 1500


class _Found(NamedTuple):
    """An image, ordered from good to bad."""

    loss: float
    position: int


class WorstImages:
    """Keeps what a model says of the images with the lowest mean IoU; a ``Watch`` of measure_accuracy.

    Args:
        dataset: that is measured on.
        n_images: to keep.
    """

    def __init__(self, dataset: Dataset, n_images: int) -> None:
        self._dataset, self._n_images = dataset, n_images
        self._heap: list[_Found] = []
        self._labels: dict[int, UInt8Array] = {}

    def __call__(self, index: int, truth: UInt8Array, labels: UInt8Array) -> None:
        value = mean_iou(confusion_matrix(truth, labels, len(self._dataset.classes)))
        if np.isnan(value):  # not one pixel with a class
            return
        heapq.heappush(self._heap, _Found(1 - value, index))
        self._labels[index] = labels
        if len(self._heap) > self._n_images:
            del self._labels[heapq.heappop(self._heap).position]

    def ranking(self) -> list[tuple[str, float]]:
        """Names and mean IoU over the classes of each image, 0..1, the worst first."""
        return [
            (self._dataset.names[found.position], 1 - found.loss)
            for found in sorted(self._heap, reverse=True)
        ]

    def write_sheet(self, path: Path) -> None:
        """Draw them, the worst first: image, the model's labels, true labels, and what is wrong in red.

        Raises:
            DatasetError: no image has labels.
            ParameterError: the file cannot be written.
        """
        if not self._heap:
            raise DatasetError('no image of the split has labels, so none is worst')
        overlay, rows = Overlay(self._dataset.classes), list[list[UInt8Array]]()
        for found in sorted(self._heap, reverse=True):
            (image, truth), labels = self._dataset[found.position], self._labels[found.position]
            pictures = [overlay(image, shown, opacity=0.6, legend=not rows) for shown in (labels, truth)]
            rows.append([image, *pictures, _mistakes(image, truth, labels)])
        sheet = contact_sheet(rows, ['image', 'model', 'truth', 'wrong'], _SHEET_WIDTH)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise ParameterError(f'{path} cannot be written; expected the name of an image file')


def _mistakes(image: UInt8Array, truth: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """A pale picture with what is labelled wrongly in red."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = np.asarray(cv2.addWeighted(grey, 0.6, np.full_like(grey, 255), 0.4, 0), np.uint8)
    picture[(labels != truth) & (truth != UNLABELLED)] = _WRONG
    return picture
