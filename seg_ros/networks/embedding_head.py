"""Embeddings: a few numbers per pixel, close together for pixels of one object.

A. Harley, K. Derpanis, I. Kokkinos, "Learning dense convolutional embeddings for semantic segmentation",
arXiv 1511.04377. There, embeddings are a 1x1 convolution of a hypercolumn.

Deliberate differences: the head reads maps of any network and the image itself, and a 3x3 convolution follows
the 1x1 convolution.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.layers import convolved_at


class EmbeddingHead(nn.Module):
    """Computes embeddings from an image and from maps of a network.

    A 1x1 convolution of stacked maps is the sum of one convolution per map. Each map is therefore convolved
    at its own size and resized afterwards. The image enters through a convolution whose kernel is as large as
    its stride, so that it reads each pixel once.

    Args:
        channels: Number of channels of each map.
        dimensions: Number of dimensions of an embedding, 1 or more.
        stride: Pixels of the image per embedding, in each direction: 1, 2, 4 or 8.
        width: Number of channels between the two convolutions, 1 or more.
        hardness: Hardness of the embedding filter at the start of training, above 0.

    Attributes:
        log_hardness: () logarithm of the hardness of the filter, learned with the embeddings.

    Raises:
        ParameterError: An argument is out of range.
    """

    def __init__(
        self,
        channels: Sequence[int],
        dimensions: int,
        stride: int,
        *,
        width: int = 32,
        hardness: float = 2.0,
    ) -> None:
        super().__init__()
        if dimensions < 1 or width < 1 or stride not in (1, 2, 4, 8) or not hardness > 0:
            raise ParameterError(
                f'embedding head with dimensions {dimensions}, stride {stride}, width {width}, hardness '
                f'{hardness}; expected dimensions and width from 1, stride 1, 2, 4 or 8, hardness above 0'
            )
        self.dimensions, self.stride = dimensions, stride
        self.look = nn.Conv2d(3, width, stride, stride=stride)
        self.project = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.norm = nn.BatchNorm2d(width)
        self.embed = nn.Conv2d(width, dimensions, 3, padding=1)
        self.log_hardness = nn.Parameter(torch.tensor(math.log(hardness)))

    @property
    def hardness(self) -> Tensor:
        """() decay of the weight of a pixel with the distance of its embedding, above 0."""
        return self.log_hardness.exp()

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Embeddings of a batch of images.

        Args:
            images: (B, 3, H, W) float of any range. Last rows or columns that do not fill a stride are
                ignored.
            maps: (B, channels, h, w) float each, maps of the same images.

        Returns:
            (B, dimensions, H // stride, W // stride) float.
        """
        inner: Tensor = self.look(images)
        size = inner.shape[-2], inner.shape[-1]
        for features, convolution in zip(maps, self.project, strict=True):
            inner = inner + convolved_at(features, convolution, size)
        result: Tensor = self.embed(F.relu(self.norm(inner)))
        return result
