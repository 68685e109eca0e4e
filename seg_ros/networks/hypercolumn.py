"""Hypercolumns: a linear classifier of each pixel that reads maps of several depths.

B. Hariharan, P. Arbelaez, R. Girshick, J. Malik, "Hypercolumns for object segmentation and fine-grained
localization", CVPR 2015: section 3 on columns, 3.1 on a grid of classifiers, 3.2 on the efficient form.

A hypercolumn is the vector of activations, after their ReLU, of several maps at a pixel, each interpolated
bilinearly. A linear classifier of stacked maps is the sum of one classifier per map, and interpolation is
linear too. Each map is therefore classified at its own size by a 1x1 convolution, and only scores are
upsampled.

With hidden layers, the classifier is a perceptron of two or more fully connected layers, as 1x1 convolutions
(A. Bansal et al., "PixelNet", arXiv 1702.06506). Only its first layer is linear in the maps, so the values of
that layer are upsampled instead of scores, and the rest is computed at each pixel.

With a grid, the classifiers need K * K times the multiplications, and as many values until the blend. For 11
classes at 480x360 with K = 5, SqueezeNet goes from 2.87 to 5.30 billion multiplications and VGG-11 from 26.6
to 32.3.

Deliberate differences:

- Maps are normalised, which is linear too. Activations of different depths differ by orders of magnitude, and
  one learning rate would suit few of them.
- The grid covers the image instead of a detected box.
- The grid blends scores at the values of each map, before upsampling. Between two such values this differs
  slightly from blending at each pixel. ``blend: probabilities`` is the published form, at each pixel.
"""

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from seg_ros.errors import ParameterError
from seg_ros.networks.column_encoders import Geometry, enlarge, find_encoder, values_at
from seg_ros.networks.layers import pad_to_multiple, start_convolutions

_MOST_HIDDEN, _MOST_LAYERS = 4096, 4
_SMALLEST = 1e-12
"""Probability that takes the place of 0 in a logarithm."""


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
    """A classifier of hypercolumns: 1504 values of SqueezeNet 1.0, or 1472 of VGG-11, if no layers are named.

    Args:
        n_classes: Number of classes, at least 1.
        encoder: 'squeezenet', 'vgg11' or 'alexnet'.
        layers: Names of the layers that are read, see ``column_encoders.ENCODERS``; empty = the usual ones.
        hidden: Number of channels of each hidden layer of the classifier, 1..4096; empty = linear.
        grid: K, 1 or more. Above 1, each cell of a grid of K x K cells over the image has a linear
            classifier, and their results are interpolated bilinearly between the centres of the cells.
        blend: Results that are interpolated: 'scores' or 'probabilities'.
        width: Number of channels of VGG-11's first scale, see ``VGG11Features``; 64 for the others.

    Attributes:
        encoder: Computes the maps; it can load public weights.
        classify: One classifier per map, each with K * K * n_classes scores, cell by cell, row by row; or
            with the values of the first hidden layer.
        head: The layers after it, 1x1 convolutions; empty if the classifier is linear.

    Raises:
        ParameterError: An argument is unknown or out of its range, or they do not fit each other.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        encoder: str = 'squeezenet',
        layers: Sequence[str] = (),
        hidden: Sequence[int] = (),
        grid: int = 1,
        blend: str = 'scores',
        width: int = 64,
    ) -> None:
        super().__init__()
        _check_classifier(hidden, grid, blend)
        source, names = find_encoder(encoder, layers, width)
        self.n_classes, self.grid, self.hidden, self.blend = n_classes, grid, tuple(hidden), blend
        self.stride, self._least = source.multiple, source.least
        self._geometries = [source.layers[name] for name in names]
        self.encoder = source.build(width, names)
        start_convolutions(self.encoder)
        channels = self.encoder.channels
        n_first = hidden[0] if hidden else grid**2 * n_classes
        self.classify = nn.ModuleList(
            MapClassifier(count, n_first, has_bias=number == len(channels))  # one bias is enough
            for number, count in enumerate(channels, 1)
        )
        widths = [*hidden, n_classes] if hidden else []
        rest = [[nn.ReLU(), nn.Conv2d(before, after, 1)] for before, after in pairwise(widths)]
        self.head = nn.Sequential(*chain.from_iterable(rest))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        size = (x.shape[-2], x.shape[-1])
        parts: dict[Geometry, Tensor] = {}
        for features, classify, geometry in zip(self.maps(x), self.classify, self._geometries, strict=True):
            part = classify(features)
            if self.grid > 1 and self.blend == 'scores':
                part = self._blend(part, geometry, size)
            parts[geometry] = parts[geometry] + part if geometry in parts else part
        if self.grid > 1 and self.blend == 'probabilities':
            return self._blend_probabilities(parts, size)
        scores: Tensor = self.head(_summed(parts, size))
        return scores

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, normalised, to the maps of hypercolumns, (B, channels, h, w) float each."""
        maps: list[Tensor] = self.encoder(pad_to_multiple(x, self.stride, self._least))
        return maps

    def columns(self, maps: list[Tensor], places: Tensor) -> Tensor:
        """Hypercolumns of some pixels.

        Args:
            maps: Maps of one image, from :meth:`maps`.
            places: (n, 2) int64, row and column of each pixel.

        Returns:
            (n, D) float; D is the number of channels of all maps together.
        """
        pairs = zip(maps, self._geometries, strict=True)
        return torch.cat([values_at(features, geometry, places) for features, geometry in pairs], dim=1)

    @torch.no_grad()
    def load_classifier(
        self, layers: Sequence[tuple[Tensor, Tensor]], mean: Tensor, variance: Tensor
    ) -> None:
        """Load a classifier of hypercolumns, the same for each cell of the grid.

        Args:
            layers: Weight (n_out, n_in) and bias (n_out,) float64 of each fully connected layer. The first
                reads columns in the order of :meth:`columns`.
            mean: (D,) float64 mean of the maps' values, for their normalisation.
            variance: (D,) float64 variance of the maps' values.
        """
        (weight, bias), *rest = layers
        n_cells, lengths = self.grid**2, list(self.encoder.channels)
        split = (torch.split(t, lengths, -1) for t in (weight.repeat(n_cells, 1), mean, variance))
        classifiers = [module for module in self.classify if isinstance(module, MapClassifier)]
        bias = bias.repeat(n_cells)
        for classifier, *part in zip(classifiers, *split, strict=True):
            bias = bias + classifier.load_classifier(*part)
        convolutions = [
            classifiers[-1].classify,
            *(module for module in self.head if isinstance(module, nn.Conv2d)),
        ]
        for convolution, (kernel, _) in zip(convolutions[1:], rest, strict=True):
            convolution.weight.copy_(kernel[:, :, None, None])
        for convolution, values in zip(convolutions, [bias, *(offset for _, offset in rest)], strict=True):
            assert convolution.bias is not None
            convolution.bias.copy_(values)

    def _blend(self, scores: Tensor, geometry: Geometry, size: tuple[int, int]) -> Tensor:
        """Scores of all cells (B, K * K * n_classes, h, w) -> (B, n_classes, h, w), weighted by position."""
        weights = self._weights(geometry, scores.shape[-2:], size, scores.device)
        by_cell = scores.view(len(scores), len(weights), self.n_classes, *scores.shape[-2:])
        return (by_cell * weights[:, None]).sum(1)

    def _blend_probabilities(self, parts: dict[Geometry, Tensor], size: tuple[int, int]) -> Tensor:
        """Logarithms of the probabilities of all cells, blended at each pixel, (B, n_classes, H, W)."""
        device = next(iter(parts.values())).device
        weights = self._weights(Geometry(1, 0), size, size, device)
        blended = []
        for cell, weight in enumerate(weights):  # one after the other, since all together need much memory
            first = cell * self.n_classes
            of_cell = {geometry: part[:, first : first + self.n_classes] for geometry, part in parts.items()}
            blended.append(_summed(of_cell, size).float().softmax(1) * weight)
        total: Tensor = sum(blended[1:], start=blended[0])
        return total.clamp_min(_SMALLEST).log()

    def _weights(
        self, geometry: Geometry, shape: Sequence[int], size: tuple[int, int], device: torch.device
    ) -> Tensor:
        """Weights of the cells at the values of a map of (h, w) values, (K * K, h, w) float."""
        stride, first = geometry
        rows, columns = (
            _cell_weights(first + stride * torch.arange(n, device=device), length, self.grid)
            for n, length in zip(shape, size, strict=True)
        )
        return (rows[:, None, :, None] * columns[:, None, :]).flatten(0, 1)


def _check_classifier(hidden: Sequence[int], grid: int, blend: str) -> None:
    """Refuse settings of the classifier that are out of range or do not fit each other."""
    are_whole = all(type(width) is int and 1 <= width <= _MOST_HIDDEN for width in hidden)
    if not are_whole or len(hidden) > _MOST_LAYERS:
        raise ParameterError(
            f'hidden is {list(hidden)}; expected up to {_MOST_LAYERS} whole numbers, 1..{_MOST_HIDDEN}'
        )
    if grid < 1 or (grid > 1 and hidden):
        raise ParameterError(f'grid is {grid} with hidden {list(hidden)}; expected 1, or more without hidden')
    if blend not in ('scores', 'probabilities'):
        raise ParameterError(f"blend is '{blend}'; expected scores or probabilities")


def _summed(parts: dict[Geometry, Tensor], size: tuple[int, int]) -> Tensor:
    """Sum of maps of different geometries at each pixel, (B, C, H, W)."""
    enlarged = [enlarge(part, geometry, size) for geometry, part in parts.items()]
    return sum(enlarged[1:], start=enlarged[0])


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
