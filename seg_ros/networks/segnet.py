"""SegNet: the decoder puts values at the positions of the maxima that the encoder's pooling found.

V. Badrinarayanan, A. Kendall, R. Cipolla, "SegNet: a deep convolutional encoder-decoder architecture for
image segmentation", IEEE TPAMI 39(12), 2017: section 3 gives the network, section 3.1 its smaller variant,
SegNet-Basic.

Deliberate differences:

- Convolutions before a batch normalisation have no bias, which the normalisation would subtract.
- Sizes that do not divide by the stride of the pooling are padded by repeating the border; the scores are
  cropped.
- SegNet-Basic has no local response normalisation of the input, because the input is normalised already.
"""

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.networks.layers import max_pool, max_unpool, pad_to_multiple
from seg_ros.networks.pretrained import Pretrained
from seg_ros.networks.vgg import SCALES


def _conv_norm(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


def _convolutions(channels: list[int], kernel: int = 3) -> nn.Sequential:
    """Convolution, normalisation and ReLU from each number of channels to the next."""
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise(channels):
        layers += [*_conv_norm(in_channels, out_channels, kernel), nn.ReLU()]
    return nn.Sequential(*layers)


class VGG16Encoder(Pretrained):
    """The 13 convolutions of VGG16 with batch normalisation, and poolings that return their indices.

    Args:
        width: Number of channels of the first scale, published with 64. The next scales have 2, 4, 8 and 8
            times as many.
    """

    trained_on = 'VGG16'

    def __init__(self, width: int) -> None:
        super().__init__()
        channels, scales = 3, []
        for count, multiple in SCALES:
            scales.append(_convolutions([channels] + [width * multiple] * count))
            channels = width * multiple
        self.scales = nn.ModuleList(scales)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) float, H and W multiples of 32, to features at 1/32 and pool_indices per scale."""
        indices = []
        for scale in self.scales:
            x, found = max_pool(scale(x))
            indices.append(found)
        return x, indices

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load ``features.*`` of torchvision's vgg16 or vgg16_bn; the classifier is ignored.

        Biases are subtracted from the running means of the normalisations, so that in evaluation mode the
        features are those of VGG16. With weights of vgg16 the normalisations are otherwise neutral.
        """
        features = {k: v for k, v in state.items() if k.startswith('features.')}
        kernels = [k for k, v in features.items() if v.ndim == 4]
        convolutions = {k: m for k, m in self.named_modules() if isinstance(m, nn.Conv2d)}
        norms = {k: m for k, m in self.named_modules() if isinstance(m, nn.BatchNorm2d)}
        wanted = [c.weight.shape for c in convolutions.values()]
        if [features[k].shape for k in kernels] != wanted:
            raise ModelFileError(
                f'{len(kernels)} convolutions of other shapes; expected the {len(wanted)} of VGG16 '
                f'of width {wanted[0][0]} (published with width 64)'
            )
        loaded: dict[str, Tensor] = {}
        for key, own, own_norm in zip(kernels, convolutions, norms, strict=True):
            position = int(key.split('.')[1])
            prefix = f'features.{position + 1}.'
            norm = {k.removeprefix(prefix): v for k, v in features.items() if k.startswith(prefix)}
            norm = norm or nn.BatchNorm2d(len(features[key])).state_dict()
            bias = features.get(f'features.{position}.bias')
            if bias is None or 'running_mean' not in norm:
                missing = f'features.{position}.bias' if bias is None else f'{prefix}running_mean'
                raise ModelFileError(f'{missing} is missing')
            norm['running_mean'] = norm['running_mean'] - bias
            loaded[f'{own}.weight'] = features[key]
            loaded |= {f'{own_norm}.{k}': v for k, v in norm.items()}
        self.load_named(loaded)


class SegNet(nn.Module):
    """SegNet as published with width 64: 29.4 million parameters for 11 classes.

    Args:
        n_classes: Number of classes, at least 1.
        width: Number of channels of the first scale, at least 1.

    Attributes:
        encoder: Convolutions of VGG16; with ``width`` 64 they can load public weights.
    """

    stride = 32

    def __init__(self, n_classes: int, *, width: int = 64) -> None:
        super().__init__()
        self.encoder = VGG16Encoder(width)
        decoder: list[nn.Module] = []
        for level in reversed(range(1, len(SCALES))):
            count, multiple = SCALES[level]
            decoder.append(_convolutions([width * multiple] * count + [width * SCALES[level - 1][1]]))
        decoder.append(_convolutions([width, width]))
        self.decoder = nn.ModuleList(decoder)
        self.classify = nn.Conv2d(width, n_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        x, indices = self.encoder(pad_to_multiple(x, self.stride))
        for scale, found in zip(self.decoder, reversed(indices), strict=True):
            x = scale(max_unpool(x, found))
        scores: Tensor = self.classify(x)
        return scores[..., :height, :width]


class SegNetBasic(nn.Module):
    """SegNet-Basic: one 7x7 convolution per scale in the encoder and in the decoder, which has no ReLU.

    Args:
        n_classes: Number of classes, at least 1.
        width: Number of channels of every map, published with 64.
        n_scales: Number of poolings, each halving height and width; published with 4.
        kernel: Size of the kernels, odd; published with 7.
    """

    def __init__(self, n_classes: int, *, width: int = 64, n_scales: int = 4, kernel: int = 7) -> None:
        super().__init__()
        self.stride = 2**n_scales
        self.encoder = nn.ModuleList(
            _convolutions([3 if scale == 0 else width, width], kernel) for scale in range(n_scales)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*_conv_norm(width, width, kernel)) for _ in range(n_scales)
        )
        self.classify = nn.Conv2d(width, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        indices = []
        for scale in self.encoder:
            x, found = max_pool(scale(x))
            indices.append(found)
        for scale, found in zip(self.decoder, reversed(indices), strict=True):
            x = scale(max_unpool(x, found))
        scores: Tensor = self.classify(x)
        return scores[..., :height, :width]


class SegNetSmall(SegNetBasic):
    """SegNet-Basic with two scales and few channels, for small tasks such as finding squares."""

    def __init__(self, n_classes: int, *, width: int = 16, kernel: int = 7) -> None:
        super().__init__(n_classes, width=width, n_scales=2, kernel=kernel)
