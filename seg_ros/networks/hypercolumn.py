"""Hypercolumns: a linear classifier of each pixel that reads maps of several depths.

B. Hariharan, P. Arbelaez, R. Girshick, J. Malik, "Hypercolumns for object segmentation and fine-grained
localization", CVPR 2015: section 3 on columns, 3.1 on a grid of classifiers, 3.2 on the efficient form.

A hypercolumn is the vector of activations, after their ReLU, of several maps at a pixel, each interpolated
bilinearly. A linear classifier of stacked maps is the sum of one classifier per map, and interpolation is
linear too. Each map is therefore classified at its own size by a 1x1 convolution, and only scores are
upsampled.

With a grid, the classifiers need K * K times the multiplications, and as many values until the blend. For 11
classes at 480x360 with K = 5, SqueezeNet goes from 2.87 to 5.30 billion multiplications and VGG-11 from 26.6
to 32.3.

Deliberate differences:

- Maps are normalised, which is linear too. Activations of different depths differ by orders of magnitude, and
  one learning rate would suit few of them.
- The grid covers the image instead of a detected box.
- The grid blends scores, not probabilities. It blends them at the values of each map, before upsampling.
  Between two such values this differs slightly from blending at each pixel.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.layers import pad_to_multiple
from seg_ros.networks.pyramid import Encoder
from seg_ros.networks.squeezenet import SqueezeNetColumns
from seg_ros.networks.vgg import VGG11Features


class _HypercolumnEncoder(NamedTuple):
    """An encoder and the positions of the values of its maps.

    Attributes:
        build: Builds the encoder of a width.
        strides: Pixels of the image per value, for each map.
        is_centred: Whether the first value of each map lies on the first pixel, as after odd kernels. Else
            each value lies in the middle of its stride x stride pixels.
    """

    build: Callable[[int], Encoder]
    strides: tuple[int, ...]
    is_centred: bool

    def first(self, stride: int) -> float:
        """Row and column, in pixels, of the first value of a map; a fraction lies between pixels."""
        return 0.0 if self.is_centred else (stride - 1) / 2


_ENCODERS = {
    'squeezenet': _HypercolumnEncoder(lambda _width: SqueezeNetColumns(), (2, 4, 4, 8, 8, 16), True),
    'vgg11': _HypercolumnEncoder(VGG11Features, (1, 2, 4, 8, 16), False),
}


class MapClassifier(nn.Module):
    """Classifies each value of a map: batch normalisation, then a 1x1 convolution.

    Args:
        channels: Number of channels of the map.
        n_scores: Number of scores per value.
        has_bias: Whether the convolution has a bias.
    """

    def __init__(self, channels: int, n_scores: int, *, has_bias: bool) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(channels)
        self.classify = nn.Conv2d(channels, n_scores, 1, bias=has_bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) float to (B, n_scores, H, W)."""
        scores: Tensor = self.classify(self.normalise(features))
        return scores

    @torch.no_grad()
    def load_classifier(self, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Load a linear classifier of values before normalisation.

        Args:
            weight: (n_scores, channels) float64.
            mean: (channels,) float64 mean of the map's values, for the normalisation.
            variance: (channels,) float64 variance of the map's values.

        Returns:
            (n_scores,) float64 to add to the bias, because the normalisation subtracts the mean.
        """
        self.normalise.reset_parameters()
        statistics = {'running_mean': mean, 'running_var': variance}
        self.normalise.load_state_dict(self.normalise.state_dict() | statistics)
        self.classify.weight.copy_((weight * (variance + self.normalise.eps).sqrt())[:, :, None, None])
        return weight @ mean


class Hypercolumn(nn.Module):
    """A linear classifier of hypercolumns: 1504 values of SqueezeNet 1.0, or 1472 of VGG-11.

    Args:
        n_classes: Number of classes, at least 1.
        encoder: 'squeezenet' or 'vgg11'.
        grid: K, 1 or more. Above 1, each cell of a grid of K x K cells over the image has a classifier, and
            scores are interpolated bilinearly between the centres of the cells.
        width: Number of channels of VGG-11's first scale, see ``VGG11Features``; 64 for SqueezeNet.

    Attributes:
        encoder: Computes the maps; it can load public weights.
        classify: One classifier per map, each with K * K * n_classes scores: cell by cell, row by row.

    Raises:
        ParameterError: The encoder is unknown, ``grid`` is below 1, or the width of SqueezeNet is not 64.
    """

    stride = 16

    def __init__(
        self, n_classes: int, *, encoder: str = 'squeezenet', grid: int = 1, width: int = 64
    ) -> None:
        super().__init__()
        if encoder not in _ENCODERS or grid < 1:
            raise ParameterError(
                f"hypercolumn with encoder '{encoder}' and grid {grid}; "
                f'expected one of {", ".join(_ENCODERS)} and 1 or more'
            )
        if encoder == 'squeezenet' and width != 64:
            raise ParameterError(f'width is {width}; SqueezeNet has a fixed width: leave width at 64')
        self.n_classes, self.grid = n_classes, grid
        self._source = _ENCODERS[encoder]
        self.encoder = self._source.build(width)
        for module in self.encoder.modules():
            if isinstance(
                module, nn.Conv2d
            ):  # otherwise deep maps of an untrained encoder are nearly constant
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        channels = self.encoder.channels
        self.classify = nn.ModuleList(
            MapClassifier(count, grid**2 * n_classes, has_bias=number == len(channels))  # one bias is enough
            for number, count in enumerate(channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        parts: dict[int, Tensor] = {}
        for features, classify, stride in zip(self.maps(x), self.classify, self._source.strides, strict=True):
            part = self._blend(classify(features), stride, (height, width))
            parts[stride] = parts[stride] + part if stride in parts else part
        large = [_upsample(part, stride, self._source.is_centred) for stride, part in parts.items()]
        return reduce(torch.add, large)[..., :height, :width]

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, normalised, to the maps of hypercolumns, (B, channels, h, w) float each."""
        maps: list[Tensor] = self.encoder(pad_to_multiple(x, self.stride))
        return maps

    def columns(self, maps: list[Tensor], places: Tensor) -> Tensor:
        """Hypercolumns of some pixels.

        Args:
            maps: Maps of one image, from :meth:`maps`.
            places: (n, 2) int64, row and column of each pixel.

        Returns:
            (n, D) float; D is the number of channels of all maps together.
        """
        parts = []
        for features, stride in zip(maps, self._source.strides, strict=True):
            in_map = (places - self._source.first(stride)) / stride
            shape = torch.tensor(features.shape[-2:], device=places.device)
            grid = ((2 * in_map + 1) / shape - 1).flip(1)[None, :, None]  # x, y; the map covers -1..1
            found = F.grid_sample(features, grid.to(features), padding_mode='border', align_corners=False)
            parts.append(found[0, :, :, 0].T)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def load_classifier(self, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Load a linear classifier of hypercolumns, the same for each cell of the grid.

        Args:
            weight: (n_classes, D) float64, for columns in the order of :meth:`columns`.
            bias: (n_classes,) float64.
            mean: (D,) float64 mean of the maps' values, for their normalisation.
            variance: (D,) float64 variance of the maps' values.
        """
        n_cells, lengths = self.grid**2, list(self.encoder.channels)
        split = (torch.split(t, lengths, -1) for t in (weight.repeat(n_cells, 1), mean, variance))
        classifiers = [module for module in self.classify if isinstance(module, MapClassifier)]
        bias = bias.repeat(n_cells)
        for classifier, *part in zip(classifiers, *split, strict=True):
            bias = bias + classifier.load_classifier(*part)
        own = classifiers[-1].classify.bias
        assert own is not None
        own.copy_(bias)

    def _blend(self, scores: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        """Scores of all cells (B, K * K * n_classes, h, w) -> (B, n_classes, h, w), weighted by position."""
        if self.grid == 1:
            return scores
        first = self._source.first(stride)
        rows, columns = (
            _cell_weights(first + stride * torch.arange(n, device=scores.device), length, self.grid)
            for n, length in zip(scores.shape[-2:], size, strict=True)
        )
        weights = (rows[:, None, :, None] * columns[:, None, :]).flatten(0, 1)
        by_cell = scores.view(len(scores), len(weights), self.n_classes, *scores.shape[-2:])
        return (by_cell * weights[:, None]).sum(1)


def _cell_weights(places: Tensor, length: int, n_cells: int) -> Tensor:
    """Weights of the cells of a line at some places: linear interpolation between the centres of the cells.

    Args:
        places: (n,) float, 0..length - 1; places outside count as the nearest inside.
        length: Length of the line in pixels.
        n_cells: Number of equally long cells on the line.

    Returns:
        (n_cells, n) float in 0..1; for each place they sum to 1, and at most two are above 0.
    """
    in_cells = ((places + 0.5) * (n_cells / length) - 0.5).clamp(0, n_cells - 1)
    cells = torch.arange(n_cells, device=places.device)
    return (1 - (in_cells - cells[:, None]).abs()).clamp(min=0)


def _upsample(x: Tensor, factor: int, is_centred: bool) -> Tensor:
    """Bilinear: (B, C, h, w) to (B, C, factor * h, factor * w); see :class:`_HypercolumnEncoder`."""
    if factor == 1:
        return x
    height, width = (factor * n for n in x.shape[-2:])
    if not is_centred:
        return F.interpolate(x, (height, width), mode='bilinear')
    x = F.pad(x, (0, 1, 0, 1), mode='replicate')  # so that the last pixels lie between two values
    x = F.interpolate(x, (height + 1, width + 1), mode='bilinear', align_corners=True)
    return x[..., :height, :width]
