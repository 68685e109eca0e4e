"""Accuracy of methods that sharpen the scores of a network."""

import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.filter_methods import FilterMethod
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.labels import (
    Counts,
    boundary_counts,
    confusion_matrix,
    mean_boundary_iou,
    mean_iou,
    pixel_accuracy,
)

Name = TypeVar('Name', bound=Hashable)


@dataclass
class FilterScores:
    """Accuracy and times of one method, collected over images.

    Attributes:
        n_classes: Number of classes.
        matrix: (n_classes, n_classes + 1) int64, confusion matrix.
        boundary: (n_classes, 2) int64, counts of the boundary IoU.
        times_ms: Time for each image, in milliseconds.
    """

    n_classes: int
    matrix: Counts = field(init=False)
    boundary: Counts = field(init=False)
    times_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.matrix = np.zeros((self.n_classes, self.n_classes + 1), np.int64)
        self.boundary = np.zeros((self.n_classes, 2), np.int64)

    def add(self, truth: UInt8Array, labels: UInt8Array, time_ms: float) -> None:
        """Count the labels of an image, (H, W) uint8, against the true ones."""
        self.matrix += confusion_matrix(truth, labels, self.n_classes)
        self.boundary += boundary_counts(truth, labels, self.n_classes)
        self.times_ms.append(time_ms)

    def as_json(self) -> dict[str, float]:
        """Mean IoU, boundary IoU and pixel accuracy, 0..1, and the median time."""
        return {
            'mean_iou': mean_iou(self.matrix),
            'boundary_iou': mean_boundary_iou(self.boundary),
            'pixel_accuracy': pixel_accuracy(self.matrix),
            'ms': float(np.median(self.times_ms)) if self.times_ms else float('nan'),
        }


def own_filter(segmenter: Segmenter, dataset: Dataset) -> EmbeddingFilter:
    """The embedding filter of a segmenter.

    Args:
        segmenter: Segmenter that was loaded with its filter.
        dataset: Data set to measure on.

    Raises:
        UnavailableError: The segmenter has no filter, or other classes than the data set.
    """
    if segmenter.embedding_filter is None:
        raise UnavailableError(f'model {segmenter.model.path} was loaded without its embedding filter')
    if segmenter.classes.names != dataset.classes.names:
        raise UnavailableError(
            f'model {segmenter.model.path} has the classes {", ".join(segmenter.classes.names) or "none"}; '
            f'the data set has {", ".join(dataset.classes.names) or "none"}'
        )
    return segmenter.embedding_filter


@torch.no_grad()
def measure_filters(
    segmenter: Segmenter, dataset: Dataset, methods: Mapping[Name, FilterMethod], cell: int = 1
) -> dict[Name, dict[str, float]]:
    """Measure methods on the images of a data set; the network runs once for each image.

    Args:
        segmenter: Segmenter that was loaded with its embedding filter.
        dataset: Images with labels.
        methods: Methods by name.
        cell: Size of the cells over which scores are averaged before any filter, in pixels, as if the network
            gave coarser scores.

    Returns:
        Name -> figures of :meth:`FilterScores.as_json`.
    """
    scores_of = {name: FilterScores(len(segmenter.classes)) for name in methods}
    for _, (image, truth) in walk(dataset, 'filters'):
        resized = np.ascontiguousarray(resize_image(image, *segmenter.input_size))
        outputs = segmenter.backend(resized[None])
        scores, embeddings = (torch.as_tensor(outputs[key][0]) for key in ('scores', 'embeddings'))
        scores = F.avg_pool2d(scores, cell) if cell > 1 else scores
        for name, method in methods.items():
            started = time.perf_counter()
            filtered = method(resized, scores, embeddings)
            took = 1e3 * (time.perf_counter() - started)
            scores_of[name].add(truth, argmax_labels(filtered, *truth.shape).labels, took)
    return {name: scores.as_json() for name, scores in scores_of.items()}


def best_of(figures: Mapping[Name, Mapping[str, float]]) -> Name:
    """Name of the method with the highest mean IoU."""
    return max(figures, key=lambda name: figures[name]['mean_iou'])
