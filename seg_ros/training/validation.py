"""Validation during training, distributed over its processes."""

from typing import Any

import numpy as np
import torch
from torch import distributed

from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.metrics.labels import Counts, class_average, confusion_matrix, iou, mean_iou
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.distributed import Processes
from seg_ros.training.golden_record import label_image


def measure(
    network: ImageNetwork | FilteredNetwork,
    dataset: Dataset,
    input_size: tuple[int, int],
    processes: Processes,
) -> Counts:
    """Confusion matrix over a data set; each process labels a part of it, all return the same matrix.

    Args:
        network: Network in evaluation mode, float32. Other processes take the buffers of the main process.
        dataset: Labelled images.
        input_size: (height, width) to which images are resized, in pixels.
        processes: Processes that measure together.

    Returns:
        (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
    """
    n_classes = len(dataset.classes)
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    if processes.world_size > 1:
        for buffer in network.buffers():  # batch normalisation has seen different images in each process
            distributed.broadcast(buffer, 0)
    indices = range(processes.rank, len(dataset), processes.world_size)
    for _, (image, truth) in walk(dataset, indices=indices):
        matrix += confusion_matrix(truth, label_image(network, image, input_size), n_classes)
    if processes.world_size > 1:
        total = torch.from_numpy(matrix).to(processes.device)
        distributed.all_reduce(total)
        matrix = total.cpu().numpy()
    return matrix


def as_figures(matrix: Counts, classes: ClassSet) -> dict[str, Any]:
    """Figures as fractions 0..1, under the keys of all reports; None for a class that does not occur."""
    values = [None if np.isnan(v) else float(v) for v in iou(matrix)]
    return {
        'mean_iou': mean_iou(matrix),
        'class_average': class_average(matrix),
        'class_iou': dict(zip(classes.names, values, strict=True)),
    }
