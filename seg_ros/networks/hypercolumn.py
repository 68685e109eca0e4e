"""Hypercolumns: each pixel is classified by what all units above it say, from edges to objects.

B. Hariharan, P. Arbelaez, R. Girshick, J. Malik, "Hypercolumns for object segmentation and fine-grained
localization", CVPR 2015: section 3 on columns, 3.1 on a grid of classifiers, 3.2 on the efficient form.

A hypercolumn is the vector of the activations, behind their ReLU, of several maps above a pixel, each
interpolated bilinearly. A linear classifier of stacked maps is the sum of one for each, and interpolation is
linear too, so every map is classified where it is small, by a 1x1 convolution, and only scores are upsampled.

What the grid costs: K * K times the multiplications of the classifiers, and as many values while it blends;
nothing behind the blend. For 11 classes at 480x360 SqueezeNet's 2.87 billion multiplications become 5.30 with
K = 5, VGG-11's 26.6 become 32.3.

Deliberate differences: maps are normalised, since activations of different depths differ by orders of
magnitude and one learning rate would suit few of them; that is linear too. The grid lies over the image
instead of over a detected box. It blends scores, not probabilities, and where each value of a map lies,
before the upsampling; within the distance of two such values this differs a little from blending at each
pixel.
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
    """An encoder, and where the values of its maps lie.

    Attributes:
        build: makes it, of a width.
        strides: pixels from one value to the next, of each map.
        is_centred: whether the first value of each map lies on the first pixel, as odd kernels leave it;
            else each lies in the middle of its stride x stride pixels.
    """

    build: Callable[[int], Encoder]
    strides: tuple[int, ...]
    is_centred: bool

    def first(self, stride: int) -> float:
        """Row and column of the pixel, or the place between pixels, that a map's first value lies on."""
        return 0.0 if self.is_centred else (stride - 1) / 2


_SOURCES = {
    'squeezenet': _HypercolumnEncoder(lambda _width: SqueezeNetColumns(), (2, 4, 4, 8, 8, 16), True),
    'vgg11': _HypercolumnEncoder(VGG11Features, (1, 2, 4, 8, 16), False),
}


class MapClassifier(nn.Module):
    """Scores of each value of a map: a normalisation, then a 1x1 convolution.

    Args:
        channels: of the map.
        n_scores: of each value.
        has_bias: whether the convolution has one.
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
    def adopt(self, weight: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Take over a linear classifier of values that are not normalised.

        Args:
            weight: (n_scores, channels) float64.
            mean: (channels,) float64, of the map's values, for the normalisation.
            variance: (channels,) float64, likewise.

        Returns:
            (n_scores,) float64, what the normalisation takes away from the scores.
        """
        self.normalise.reset_parameters()
        statistics = {'running_mean': mean, 'running_var': variance}
        self.normalise.load_state_dict(self.normalise.state_dict() | statistics)
        self.classify.weight.copy_((weight * (variance + self.normalise.eps).sqrt())[:, :, None, None])
        return weight @ mean


class Hypercolumn(nn.Module):
    """A linear classifier of hypercolumns: 1504 values of SqueezeNet 1.0, or 1472 of VGG-11.

    Args:
        n_classes: classes to tell apart, at least 1.
        encoder: 'squeezenet' or 'vgg11'.
        grid: K; above 1, K x K classifiers share out the image, and between the centres of their cells
            scores are interpolated bilinearly.
        width: of VGG-11, see ``VGG11Features``; SqueezeNet has one width only.

    Attributes:
        encoder: gives the maps; which public weights fit.
        classify: of each map, K * K * n_classes scores: cell by cell, row by row.

    Raises:
        ParameterError: there is no such encoder or grid, or SqueezeNet is asked for another width.
    """

    stride = 16

    def __init__(
        self, n_classes: int, *, encoder: str = 'squeezenet', grid: int = 1, width: int = 64
    ) -> None:
        super().__init__()
        if encoder not in _SOURCES or grid < 1:
            raise ParameterError(
                f"encoder is '{encoder}', grid {grid}; expected one of {', '.join(_SOURCES)} and 1 or more"
            )
        if encoder == 'squeezenet' and width != 64:
            raise ParameterError(f'width is {width}; SqueezeNet has 64 channels or more in one way only')
        self.n_classes, self.grid = n_classes, grid
        self._source = _SOURCES[encoder]
        self.encoder = self._source.build(width)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):  # so that deep maps of an untrained encoder vary at all
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        channels = self.encoder.channels
        self.classify = nn.ModuleList(
            MapClassifier(count, grid**2 * n_classes, has_bias=number == len(channels))  # one is enough
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
        """What hypercolumns are read from, (B, channels, h, w) each, of (B, 3, H, W) float, normalised."""
        maps: list[Tensor] = self.encoder(pad_to_multiple(x, self.stride))
        return maps

    def columns(self, maps: list[Tensor], places: Tensor) -> Tensor:
        """Hypercolumns of some pixels, as long as all channels together.

        Args:
            maps: of one image, from :meth:`maps`.
            places: (n, 2) int64, row and column of each pixel.

        Returns:
            (n, D) float.
        """
        parts = []
        for features, stride in zip(maps, self._source.strides, strict=True):
            in_map = (places - self._source.first(stride)) / stride
            shape = torch.tensor(features.shape[-2:], device=places.device)
            grid = ((2 * in_map + 1) / shape - 1).flip(1)[None, :, None]  # x, y; the map lies in -1..1
            found = F.grid_sample(features, grid.to(features), padding_mode='border', align_corners=False)
            parts.append(found[0, :, :, 0].T)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def load_classifier(self, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Take over a linear classifier of hypercolumns, for every cell of the grid the same.

        Args:
            weight: (n_classes, D) float64, of columns as :meth:`columns` gives them.
            bias: (n_classes,) float64.
            mean: (D,) float64, of the maps' values, for their normalisation.
            variance: (D,) float64, likewise.
        """
        n_cells, lengths = self.grid**2, list(self.encoder.channels)
        split = (torch.split(t, lengths, -1) for t in (weight.repeat(n_cells, 1), mean, variance))
        classifiers = [module for module in self.classify if isinstance(module, MapClassifier)]
        bias = bias.repeat(n_cells)
        for classifier, *part in zip(classifiers, *split, strict=True):
            bias = bias + classifier.adopt(*part)
        own = classifiers[-1].classify.bias
        assert own is not None
        own.copy_(bias)

    def _blend(self, scores: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
        """(B, K * K * n_classes, h, w) of a map -> (B, n_classes, h, w) by where in the image values lie."""
        if self.grid == 1:
            return scores
        first = self._source.first(stride)
        rows, columns = (
            _shares(first + stride * torch.arange(n, device=scores.device), length, self.grid)
            for n, length in zip(scores.shape[-2:], size, strict=True)
        )
        shares = (rows[:, None, :, None] * columns[:, None, :]).flatten(0, 1)
        by_cell = scores.view(len(scores), len(shares), self.n_classes, *scores.shape[-2:])
        return (by_cell * shares[:, None]).sum(1)


def _shares(places: Tensor, length: int, n_cells: int) -> Tensor:
    """How much each of the cells of a line has to say at places on it, by their distance from its centre.

    Args:
        places: (n,) float, 0..length - 1; others count as the nearest.
        length: of the line in pixels.
        n_cells: that share it out evenly.

    Returns:
        (n_cells, n) float, 0..1, at most two of a place above 0 and all together 1.
    """
    in_cells = ((places + 0.5) * (n_cells / length) - 0.5).clamp(0, n_cells - 1)
    cells = torch.arange(n_cells, device=places.device)
    return (1 - (in_cells - cells[:, None]).abs()).clamp(min=0)


def _upsample(x: Tensor, factor: int, is_centred: bool) -> Tensor:
    """(B, C, h, w) to (B, C, factor * h, factor * w), bilinearly; see :class:`_HypercolumnEncoder`."""
    if factor == 1:
        return x
    height, width = (factor * n for n in x.shape[-2:])
    if not is_centred:
        return F.interpolate(x, (height, width), mode='bilinear')
    x = F.pad(x, (0, 1, 0, 1), mode='replicate')  # one more, so that both ends lie on pixels
    x = F.interpolate(x, (height + 1, width + 1), mode='bilinear', align_corners=True)
    return x[..., :height, :width]
