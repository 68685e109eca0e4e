"""Measuring a network during training, on the data that its processes share out."""

from typing import Any

import numpy as np
import torch
from torch import distributed

from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
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
    """One confusion matrix over a data set, equal in all processes, each of which labels its share.

    Args:
        network: in evaluation mode, float32; other processes take over the buffers of the main one.
        dataset: labelled images.
        input_size: (height, width) that images are stretched to, in pixels.
        processes: that measure together.

    Returns:
        (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
    """
    n_classes = len(dataset.classes)
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    if processes.world_size > 1:
        for buffer in network.buffers():  # batch normalisation has seen other images in each process
            distributed.broadcast(buffer, 0)
    for index in range(processes.rank, len(dataset), processes.world_size):
        image, truth = dataset[index]
        matrix += confusion_matrix(truth, label_image(network, image, input_size), n_classes)
    if processes.world_size > 1:
        total = torch.from_numpy(matrix).to(processes.device)
        distributed.all_reduce(total)
        matrix = total.cpu().numpy()
    return matrix


def as_figures(matrix: Counts, classes: ClassSet) -> dict[str, Any]:
    """Fractions 0..1 under the keys that all reports share; None where a class does not occur."""
    values = [None if np.isnan(v) else float(v) for v in iou(matrix)]
    return {
        'mean_iou': mean_iou(matrix),
        'class_average': class_average(matrix),
        'class_iou': dict(zip(classes.names, values, strict=True)),
    }
