"""Embeddings of pixels: a few numbers each, close together for pixels of one thing.

A. Harley, K. Derpanis, I. Kokkinos, "Learning dense convolutional embeddings for semantic segmentation",
arXiv 1511.04377. Their embeddings are a 1x1 convolution of a hypercolumn; so are these, of maps of any
network and of the image itself, with one convolution more that sees the neighbours.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.layers import convolved_at


class EmbeddingHead(nn.Module):
    """Reads maps of a network, and gives embeddings.

    A 1x1 convolution of stacked maps is the sum of one for each, so maps are convolved where they are and
    only then brought to one size. The image joins them by a convolution as large as its stride, which sees
    every pixel once.

    Args:
        channels: of each map.
        dimensions: of an embedding, 1 or more.
        stride: pixels of the image from one embedding to the next, 1, 2, 4 or 8.
        width: channels between the two convolutions.
        hardness: that training starts from.

    Attributes:
        log_hardness: () logarithm of the filter's hardness, learned with the embeddings.

    Raises:
        ParameterError: an argument is out of range.
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
                f'embeddings of {dimensions} dimensions at every {stride}th pixel, width {width}, hardness '
                f'{hardness}; expected 1 or more, 1, 2, 4 or 8, 1 or more, and above 0'
            )
        self.dimensions, self.stride = dimensions, stride
        self.look = nn.Conv2d(3, width, stride, stride=stride)
        self.project = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.norm = nn.BatchNorm2d(width)
        self.embed = nn.Conv2d(width, dimensions, 3, padding=1)
        self.log_hardness = nn.Parameter(torch.tensor(math.log(hardness)))

    @property
    def hardness(self) -> Tensor:
        """() above 0, how fast the filter's mask falls with distance."""
        return self.log_hardness.exp()

    def forward(self, images: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Embeddings of a batch of images.

        Args:
            images: (B, 3, H, W) float, of any scale; a last row or column that does not fill a stride is
                left out.
            maps: (B, channels, h, w) each, of the same images.

        Returns:
            (B, dimensions, H // stride, W // stride).
        """
        inner: Tensor = self.look(images)
        size = inner.shape[-2], inner.shape[-1]
        for features, convolution in zip(maps, self.project, strict=True):
            inner = inner + convolved_at(features, convolution, size)
        result: Tensor = self.embed(F.relu(self.norm(inner)))
        return result
