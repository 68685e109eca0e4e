"""SqueezeNet as an encoder, and a feature pyramid on it.

F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv 1602.07360, and its
official revision 1.1.

Deliberate difference: convolution and pooling are padded so that sizes halve exactly.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.layers import pad_to_multiple
from seg_ros.networks.pyramid import Encoder, Pyramid


class Fire(nn.Module):
    """1x1 squeeze, then 1x1 and 3x3 expansion side by side: (B, C, H, W) to (B, 2 expand, H, W)."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


# Channels and kernel of the first convolution; squeeze and expand channels of the Fire modules of each scale.
# A pooling precedes each scale.
_LAYOUTS: dict[str, tuple[int, int, tuple[tuple[tuple[int, int], ...], ...]]] = {
    '1.0': (
        96,
        7,
        (
            ((16, 64), (16, 64), (32, 128)),
            ((32, 128), (48, 192), (48, 192), (64, 256)),
            ((64, 256),),
        ),
    ),
    '1.1': (
        64,
        3,
        (
            ((16, 64), (16, 64)),
            ((32, 128), (32, 128)),
            ((48, 192), (48, 192), (64, 256), (64, 256)),
        ),
    ),
}


class SqueezeNetEncoder(Encoder):
    """Features of SqueezeNet under torchvision's names: maps at 1/2, 1/4, 1/8 and 1/16.

    Args:
        version: '1.0' or '1.1'.

    Raises:
        ModelFileError: The version is unknown.
    """

    def __init__(self, version: str = '1.1') -> None:
        super().__init__()
        if version not in _LAYOUTS:
            raise ModelFileError(f"unknown SqueezeNet version '{version}'; known: {', '.join(_LAYOUTS)}")
        self.trained_on = f'SqueezeNet {version}'
        channels, kernel, scales = _LAYOUTS[version]
        layers: list[nn.Module] = [nn.Conv2d(3, channels, kernel, 2, padding=kernel // 2), nn.ReLU()]
        ends, widths = [len(layers)], [channels]
        for scale in scales:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            for squeeze, expand in scale:
                layers.append(Fire(channels, squeeze, expand))
                channels = 2 * expand
            ends.append(len(layers))
            widths.append(channels)
        self.features = nn.Sequential(*layers)
        self.channels = tuple(widths)
        self.stages = tuple(zip([0, *ends], ends, strict=False))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 16, to maps at 1/2, 1/4, 1/8 and 1/16."""
        maps = []
        for first, last in self.stages:
            x = self.features[first:last](x)
            maps.append(x)
        return maps

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's weights, with or without ``features.`` in their names."""
        named = {f'features.{k.removeprefix("features.")}': v for k, v in state.items()}
        self.load_named({k: v for k, v in named.items() if not k.startswith('features.classifier')})


class SqueezeNetFeatures(SqueezeNetEncoder):
    """SqueezeNet without a head, for images of any size, which are padded by repeating the border."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float to maps at 1/2, 1/4, 1/8 and 1/16, sizes rounded up."""
        return super().forward(pad_to_multiple(x, 2 ** len(self.stages)))


_ENDS = {
    'conv1': (2, 96),
    'fire2': (4, 128),
    'fire3': (5, 128),
    'fire4': (6, 256),
    'fire5': (8, 256),
    'fire6': (9, 384),
    'fire7': (10, 384),
    'fire8': (11, 512),
    'fire9': (13, 512),
}
"""Layers of SqueezeNet 1.0: number of layers up to its ReLU, and its channels. A Fire module is one layer."""


class SqueezeNetColumns(SqueezeNetEncoder):
    """SqueezeNet 1.0 up to the last of some layers, for hypercolumns.

    The usual layers give 1504 values. They are torchvision's layers 0, 3, 4, 7, 9 and 12 after their ReLU,
    with 96 channels at 1/2, 128 and 128 at 1/4, 256 and 384 at 1/8, 512 at 1/16. Conv1 is needed for 1504:
    the channels of all Fire modules are multiples of 128.

    Args:
        layers: Names of the layers whose results are the maps: conv1, fire2 to fire9, in this order.
    """

    def __init__(
        self, layers: Sequence[str] = ('conv1', 'fire2', 'fire3', 'fire5', 'fire7', 'fire9')
    ) -> None:
        super().__init__('1.0')
        ends = [_ENDS[layer][0] for layer in layers]
        self.stages = tuple(pairwise((0, *ends)))
        self.channels = tuple(_ENDS[layer][1] for layer in layers)
        self._skipped = tuple(f'features.{number}.' for number in range(ends[-1], len(self.features)))
        self.features = nn.Sequential(*list(self.features)[: ends[-1]])

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's weights; layers behind the last map are ignored."""
        named = {f'features.{k.removeprefix("features.")}': v for k, v in state.items()}
        super().load_pretrained({k: v for k, v in named.items() if not k.startswith(self._skipped)})


class SqueezeNetPyramid(Pyramid):
    """A pyramid on SqueezeNet 1.1; arguments as in :class:`Pyramid`."""

    def __init__(self, n_classes: int, *, width: int = 96, dropout: float = 0.1) -> None:
        super().__init__(SqueezeNetEncoder(), n_classes, width=width, dropout=dropout)
