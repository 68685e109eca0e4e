"""VGG16, with its fully connected layers as convolutions, and VGG-11, without them, as encoders.

K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015.
fc6 and fc7 become convolutions after J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks", CVPR
2015.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from seg_ros.networks.pretrained import as_convolution
from seg_ros.networks.pyramid import Encoder

SCALES = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""VGG16: number of convolutions of each scale, and their channels as a multiple of the first scale's."""

VGG11_SCALES = ((1, 1), (1, 2), (2, 4), (2, 8), (2, 8))
"""The same for VGG-11, configuration A of the paper."""

_FULLY_CONNECTED = {'classifier.0': 'fc6', 'classifier.3': 'fc7'}
"""Torchvision's names of the fully connected layers of VGG16 -> names here."""


def _convolutions(channels: int, out_channels: int, count: int) -> list[nn.Module]:
    """Layers of a scale, without its pooling."""
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU()]
        channels = out_channels
    return layers


def _maps(features: nn.Sequential, ends: list[int], x: Tensor) -> list[Tensor]:
    """Run the layers; collect the map before each layer number in ``ends``."""
    maps = []
    for start, end in pairwise([0, *ends]):
        x = features[start:end](x)
        maps.append(x)
    return maps


class VGG11Features(Encoder):
    """VGG-11 up to the last of some convolutions, whose results after their ReLU are the maps.

    Of the last convolution of each scale they are torchvision's layers 0, 3, 8, 13 and 18: maps at 1/1, 1/2,
    1/4, 1/8 and 1/16. With the published width they have 64, 128, 256, 512 and 512 channels.

    Args:
        width: Number of channels of the first scale, published with 64.
        layers: Names of the convolutions, such as conv3_2 for the second of the third scale, in their order.
    """

    trained_on = 'VGG11'

    def __init__(
        self,
        width: int = 64,
        layers: Sequence[str] = ('conv1_1', 'conv2_1', 'conv3_2', 'conv4_2', 'conv5_2'),
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        channels = 3
        ends: dict[str, tuple[int, int]] = {}
        for scale, (count, multiple) in enumerate(VGG11_SCALES, 1):
            modules += [nn.MaxPool2d(2)] if modules else []
            before = len(modules)
            modules += _convolutions(channels, width * multiple, count)
            channels = width * multiple
            ends |= {f'conv{scale}_{n}': (before + 2 * n, channels) for n in range(1, count + 1)}
        self._ends = [ends[layer][0] for layer in layers]
        self.features = nn.Sequential(*modules[: self._ends[-1]])
        self._skipped = tuple(f'features.{number}.' for number in range(self._ends[-1], len(modules)))
        self.channels = tuple(ends[layer][1] for layer in layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 16, to one map for each layer, at 1/1 to 1/16."""
        return _maps(self.features, self._ends, x)

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load ``features.*`` of torchvision's vgg11; layers behind the last map are ignored."""
        features = {k: v for k, v in state.items() if k.startswith('features.')}
        self.load_named({k: v for k, v in features.items() if not k.startswith(self._skipped)})


class VGG16Features(Encoder):
    """VGG16 up to fc7: maps at 1/2, 1/4, 1/8 and 1/16, after each pooling, and fc7 at 1/32.

    fc6, a 7x7 convolution, is padded so that it keeps the size of its input.

    Args:
        width: Number of channels of the first scale, published with 64. fc6 and fc7 have 64 times as many.
    """

    trained_on = 'VGG16'

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, self._ends = 3, []
        for count, multiple in SCALES:
            layers += [*_convolutions(channels, width * multiple, count), nn.MaxPool2d(2)]
            channels = width * multiple
            self._ends.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Conv2d(channels, 64 * width, 7, padding=3)
        self.fc7 = nn.Conv2d(64 * width, 64 * width, 1)
        self.dropout = nn.Dropout()
        self.channels = (width, 2 * width, 4 * width, 8 * width, 64 * width)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 32, to maps at 1/2, 1/4, 1/8, 1/16 and fc7."""
        maps = _maps(self.features, self._ends, x)
        x = self.dropout(self.fc6(maps[-1]).relu())
        return [*maps[:-1], self.dropout(self.fc7(x).relu())]

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load torchvision's vgg16: ``features.*``, ``classifier.0`` and ``classifier.3``.

        Many encoders are published without a classifier. fc6 and fc7 are left unchanged then.
        """
        own = self.state_dict()
        found = {}
        for key, value in state.items():
            layer, _, tensor = key.rpartition('.')
            name = f'{_FULLY_CONNECTED.get(layer, layer)}.{tensor}'
            if name.startswith('features.'):
                found[name] = value
            elif name in own:
                found[name] = as_convolution(value, own[name])
        kept = {name: value for name, value in own.items() if not name.startswith('features.')}
        self.load_named(kept | found)
