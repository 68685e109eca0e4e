"""Contact sheet of the images on which a model is worst."""

import heapq
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.overlay import Overlay, contact_sheet
from seg_ros.errors import DatasetError
from seg_ros.images.files import write_image
from seg_ros.metrics.labels import confusion_matrix, mean_iou

_WRONG = (230, 40, 40)
_SHEET_WIDTH = 1500


class _Found(NamedTuple):
    """An image; a larger loss sorts later."""

    loss: float
    position: int


class WorstImages:
    """Keeps the labels of the images with the lowest mean IoU; a ``Watch`` of measure_accuracy.

    Args:
        dataset: Data set that the model is measured on.
        n_images: Number of images to keep.
    """

    def __init__(self, dataset: Dataset, n_images: int) -> None:
        self._dataset, self._n_images = dataset, n_images
        self._heap: list[_Found] = []
        self._labels: dict[int, UInt8Array] = {}

    def __call__(self, index: int, truth: UInt8Array, labels: UInt8Array) -> None:
        value = mean_iou(confusion_matrix(truth, labels, len(self._dataset.classes)))
        if np.isnan(value):  # no pixel has a class
            return
        heapq.heappush(self._heap, _Found(1 - value, index))
        self._labels[index] = labels
        if len(self._heap) > self._n_images:
            del self._labels[heapq.heappop(self._heap).position]

    def ranking(self) -> list[tuple[str, float]]:
        """Name and mean IoU, 0..1, of each image, the worst first."""
        return [
            (self._dataset.names[found.position], 1 - found.loss)
            for found in sorted(self._heap, reverse=True)
        ]

    def write_sheet(self, path: Path) -> None:
        """Draw the images, the worst first: image, labels of the model, true labels, mistakes in red.

        Args:
            path: Path of the image file; missing folders are made.

        Raises:
            DatasetError: No image has labels.
            ImageError: The file cannot be written.
        """
        if not self._heap:
            raise DatasetError(
                'no image of the split has labels to find the worst images with; choose another split'
            )
        overlay, rows = Overlay(self._dataset.classes), list[list[UInt8Array]]()
        for found in sorted(self._heap, reverse=True):
            (image, truth), labels = self._dataset[found.position], self._labels[found.position]
            pictures = [overlay(image, shown, opacity=0.6, legend=not rows) for shown in (labels, truth)]
            rows.append([image, *pictures, _mistakes(image, truth, labels)])
        sheet = contact_sheet(rows, ['image', 'model', 'truth', 'wrong'], _SHEET_WIDTH)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, sheet)


def _mistakes(image: UInt8Array, truth: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """Mark the wrongly labelled pixels in red on a pale picture."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = np.asarray(cv2.addWeighted(grey, 0.6, np.full_like(grey, 255), 0.4, 0), np.uint8)
    picture[(labels != truth) & (truth != UNLABELLED)] = _WRONG
    return picture
