"""Encoders of hypercolumns: which layers they offer, and where the values of their maps lie in the image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.alexnet_columns import AlexNetColumns
from seg_ros.networks.pyramid import Encoder
from seg_ros.networks.squeezenet import SqueezeNetColumns
from seg_ros.networks.vgg import VGG11Features


class Geometry(NamedTuple):
    """Where the values of a map lie.

    Attributes:
        stride: Distance of neighbouring values, in pixels.
        first: Row and column of the first value, in pixels; a half lies between two pixels.
    """

    stride: int
    first: float


class ColumnEncoder(NamedTuple):
    """An encoder of hypercolumns.

    Attributes:
        build: Function of the width and the layers to read, which makes the encoder.
        layers: Name of each layer -> geometry of its map.
        usual: Layers that are read unless others are named.
        has_width: Whether the encoder can be built with another width than the published one.
        multiple: Height and width of an image must be multiples of this.
        least: Minimum height and width of an image in pixels.
    """

    build: Callable[[int, Sequence[str]], Encoder]
    layers: dict[str, Geometry]
    usual: tuple[str, ...]
    has_width: bool = False
    multiple: int = 16
    least: int = 0


def _between_pixels(stride: int) -> Geometry:
    """Geometry after poolings with even kernels: each value lies in the middle of its pixels."""
    return Geometry(stride, (stride - 1) / 2)


_OF_FIRES = {**dict.fromkeys((2, 3, 4), 4), **dict.fromkeys((5, 6, 7, 8), 8), 9: 16}

ENCODERS: dict[str, ColumnEncoder] = {
    'squeezenet': ColumnEncoder(
        lambda _width, layers: SqueezeNetColumns(layers),
        {'conv1': Geometry(2, 0), **{f'fire{n}': Geometry(stride, 0) for n, stride in _OF_FIRES.items()}},
        ('conv1', 'fire2', 'fire3', 'fire5', 'fire7', 'fire9'),
    ),
    'vgg11': ColumnEncoder(
        VGG11Features,
        {
            f'conv{scale}_{number}': _between_pixels(2 ** (scale - 1))
            for scale, count in enumerate((1, 1, 2, 2, 2), 1)
            for number in range(1, count + 1)
        },
        ('conv1_1', 'conv2_1', 'conv3_2', 'conv4_2', 'conv5_2'),
        has_width=True,
    ),
    'alexnet': ColumnEncoder(
        lambda _width, layers: AlexNetColumns(layers),
        {
            'conv1': Geometry(4, 3),
            'pool1': Geometry(8, 7),
            'conv2': Geometry(8, 7),
            **dict.fromkeys(('pool2', 'conv3', 'conv4', 'conv5'), Geometry(16, 15)),
            'pool5': Geometry(32, 31),
            **dict.fromkeys(('fc6', 'fc7'), Geometry(32, 47)),  # the middle of 6x6 values
        },
        ('pool2', 'conv4', 'fc7'),
        multiple=32,
        least=64,
    ),
}
"""Encoders by name. The usual layers of AlexNet are those of Hariharan et al. 2015, section 4."""


def find_encoder(name: str, layers: Sequence[str], width: int) -> tuple[ColumnEncoder, tuple[str, ...]]:
    """Look up an encoder and the layers to read, in the order of the network.

    Args:
        name: Name in ENCODERS.
        layers: Names of the layers, in any order; empty = the usual ones.
        width: Number of channels of the first layer.

    Raises:
        ParameterError: The encoder or a layer is unknown, a layer is named twice, or the encoder has a fixed
            width.
    """
    if name not in ENCODERS:
        raise ParameterError(f"hypercolumn with encoder '{name}'; expected one of {', '.join(ENCODERS)}")
    encoder = ENCODERS[name]
    if width != 64 and not encoder.has_width:
        raise ParameterError(f'width is {width}; {name} has a fixed width: leave width at 64')
    unknown = [str(layer) for layer in layers if layer not in encoder.layers]
    if unknown or len(set(layers)) < len(layers):
        wrong = f"'{unknown[0]}'" if unknown else 'a layer twice'
        raise ParameterError(f'layers has {wrong}; expected some of {", ".join(encoder.layers)}, once each')
    return encoder, tuple(layer for layer in encoder.layers if layer in (layers or encoder.usual))


def enlarge(x: Tensor, geometry: Geometry, size: Sequence[int]) -> Tensor:
    """Interpolate a map bilinearly at each pixel; beyond the outer values, the nearest counts.

    Args:
        x: (B, C, h, w) float.
        geometry: Geometry of the map.
        size: (height, width) of the image, in pixels.

    Returns:
        (B, C, height, width).
    """
    stride, first = geometry
    if stride == 1:
        return x[..., : size[0], : size[1]]
    is_centred = first == int(first)  # values lie on pixels, and the interpolation goes from value to value
    shift = int(first if is_centred else first - (stride - 1) / 2)
    before = -(-shift // stride)
    counts = [-(-(n - shift) // stride) + before + is_centred for n in size]
    beyond = [max(count - before - n, 0) for count, n in zip(counts, x.shape[-2:], strict=True)]
    if before or any(beyond):
        x = F.pad(x, (before, beyond[1], before, beyond[0]), mode='replicate')
    whole = [n * stride for n in x.shape[-2:]]
    if is_centred:
        x = F.interpolate(x, [n - stride + 1 for n in whole], mode='bilinear', align_corners=True)
    else:
        x = F.interpolate(x, whole, mode='bilinear')
    start = stride * before - shift
    return x[..., start : start + size[0], start : start + size[1]]


def values_at(x: Tensor, geometry: Geometry, places: Tensor) -> Tensor:
    """Values of one map at some pixels, as :func:`enlarge` has them.

    Args:
        x: (1, C, h, w) float.
        geometry: Geometry of the map.
        places: (n, 2) int64, row and column of each pixel.

    Returns:
        (n, C) float.
    """
    in_map = (places - geometry.first) / geometry.stride
    shape = torch.tensor(x.shape[-2:], device=places.device)
    grid = ((2 * in_map + 1) / shape - 1).flip(1)[None, :, None]  # x, y; the map covers -1..1
    found = F.grid_sample(x, grid.to(x), padding_mode='border', align_corners=False)
    return found[0, :, :, 0].T
