"""Statistics of batch normalisations of a smaller network."""

import torch
from torch import nn

from seg_ros.compression.importance import Task
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.batch_norm_statistics import has_statistics, recompute_statistics

_BATCH_SIZE = 8
"""Number of images that normalise each other while deeper layers are measured."""


def refresh_statistics(network: nn.Module, task: Task) -> None:
    """Compute the statistics of batch normalisations anew on the images of a task, in place.

    Maps of a pruned network differ from those that its statistics were measured on.
    """
    if not task.batches or not has_statistics(network):
        return
    images = torch.cat([batch for batch, _ in task.batches])
    recompute_statistics(ImageNetwork(network, task.normalisation), torch.split(images, _BATCH_SIZE))
