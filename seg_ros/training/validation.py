"""Validation during training, distributed over its processes."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.images.resize import resize_image
from seg_ros.metrics.labels import Counts, class_average, confusion_matrix, iou, mean_iou, pixel_accuracy
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.distributed import Processes


class Validation(NamedTuple):
    """Result of a validation.

    Attributes:
        matrix: (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
        loss: Loss on labels, mean over the images; NaN if no loss was given.
    """

    matrix: Counts
    loss: float


@torch.inference_mode()
def measure(
    network: ImageNetwork | FilteredNetwork,
    dataset: Dataset,
    input_size: tuple[int, int],
    processes: Processes,
    loss: nn.Module | None = None,
) -> Validation:
    """Confusion matrix and loss over a data set; each process takes a part of it, all return the same.

    Args:
        network: Network in evaluation mode, float32. Other processes take the buffers of the main process.
        dataset: Labelled images.
        input_size: (height, width) to which images are resized, in pixels.
        processes: Processes that measure together.
        loss: Loss of (1, K, H, W) scores against (1, H, W) uint8 labels, a () float; None = no loss.
    """
    n_classes = len(dataset.classes)
    matrix = np.zeros((n_classes, n_classes + 1), np.int64)
    losses: list[float] = []
    if processes.world_size > 1:
        for buffer in network.buffers():  # batch normalisation has seen different images in each process
            distributed.broadcast(buffer, 0)
    indices = range(processes.rank, len(dataset), processes.world_size)
    for _, (image, truth) in walk(dataset, indices=indices):
        scores = _scores(network, image, truth.shape, input_size)
        labels = scores[0].argmax(0).to(torch.uint8).cpu().numpy()
        matrix += confusion_matrix(truth, labels, n_classes)
        if loss is not None:
            losses.append(float(loss(scores, torch.from_numpy(truth)[None].to(scores.device))))
    sums = np.array([sum(losses), len(losses)])
    if processes.world_size > 1:
        matrix, sums = (_sum_over(processes, values) for values in (matrix, sums))
    return Validation(matrix, float(sums[0] / sums[1]) if sums[1] else math.nan)


def _scores(
    network: ImageNetwork | FilteredNetwork,
    image: UInt8Array,
    shape: tuple[int, ...],
    input_size: tuple[int, int],
) -> Tensor:
    """Scores of one image, (1, K, H, W) float, interpolated to the (H, W) of its labels."""
    x = torch.from_numpy(resize_image(image, *input_size))[None].to(next(network.buffers()).device)
    scores: Tensor = network(x)
    return scores if scores.shape[-2:] == shape else F.interpolate(scores, shape, mode='bilinear')


def _sum_over(processes: Processes, values: Any) -> Any:
    """Sum of a NumPy array over all processes."""
    total = torch.from_numpy(values).to(processes.device)
    distributed.all_reduce(total)
    return total.cpu().numpy()


def as_figures(matrix: Counts, classes: ClassSet) -> dict[str, Any]:
    """Figures as fractions 0..1, under the keys of all reports; None for a class that does not occur."""
    values = [None if np.isnan(v) else float(v) for v in iou(matrix)]
    return {
        'mean_iou': mean_iou(matrix),
        'class_average': class_average(matrix),
        'pixel_accuracy': pixel_accuracy(matrix),
        'class_iou': dict(zip(classes.names, values, strict=True)),
    }
