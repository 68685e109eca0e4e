"""FCN-32s, FCN-16s and FCN-8s: a classifier made fully convolutional, with skips from finer maps.

J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015:
section 3.3 on upsampling, section 4.2 on skips.

Deliberate difference: the paper pads the image by 100 pixels and crops the scores. Here the image is padded
to a multiple of 32 by repeating its border, and fc6 keeps the size of its map.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.networks.layers import pad_to_multiple, start_convolutions
from seg_ros.networks.pyramid import Encoder
from seg_ros.networks.vgg import VGG16Features


class _FcnEncoder(NamedTuple):
    """Maps of an encoder that FCN reads, and their geometry.

    Attributes:
        maps: Indices of the maps at 1/8 and 1/16 and of the deepest map in the result of the encoder.
        is_centred: Whether every second value of a map lies on a value of the next coarser map, as after
            poolings with odd kernels. Else values of the coarser map lie between those of the finer.
        least: Minimum height and width in pixels at which no map is empty; a multiple of 32.
    """

    maps: tuple[int, int, int]
    is_centred: bool
    least: int


_ENCODERS = {'vgg16': _FcnEncoder((2, 3, 4), False, 32), 'alexnet': _FcnEncoder((0, 1, 3), True, 64)}
STRIDES = (8, 16, 32)


class Upsampling(nn.ConvTranspose2d):
    """A full convolution that is initialised to bilinear interpolation of each channel.

    Args:
        channels: Number of channels of input and output.
        factor: Factor of upsampling, even, 2 or more.
        is_centred: See :class:`_FcnEncoder`. If true, the result is ``factor - 1`` pixels larger than
            ``factor`` times the input.
    """

    def __init__(self, channels: int, factor: int, *, is_centred: bool) -> None:
        kernel, padding = (2 * factor - 1, 0) if is_centred else (2 * factor, factor // 2)
        super().__init__(channels, channels, kernel, factor, padding, bias=False)
        taps = 1 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / factor
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = taps[:, None] * taps

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Upsample (B, C, h, w); under autocast in float32, because bfloat16 takes 30 times as long."""
        kind = x.device.type
        if kind == 'meta' or not torch.is_autocast_enabled(kind):
            return super().forward(x, output_size)
        with torch.autocast(kind, enabled=False):
            return super().forward(x.float(), output_size)


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s.

    Args:
        n_classes: Number of classes, at least 1.
        encoder: 'vgg16' or 'alexnet'.
        finest: Stride of the finest map that is read: 32, 16 or 8.
        width: Number of channels of VGG16's first scale, see ``VGG16Features``; 64 for AlexNet.

    Attributes:
        encoder: The encoder, which can load public weights.

    Raises:
        ParameterError: The encoder or the stride is unknown, or the width of AlexNet is not 64.
    """

    stride = 32
    grown = ('skips.', 'upsampling.')
    """Beginnings of the parameters that a network with coarser maps lacks; untrained, they add nothing."""

    def __init__(self, n_classes: int, *, encoder: str = 'vgg16', finest: int = 8, width: int = 64) -> None:
        super().__init__()
        if encoder not in _ENCODERS or finest not in STRIDES:
            raise ParameterError(
                f"FCN with encoder '{encoder}' and finest {finest}; "
                f'expected one of {", ".join(_ENCODERS)} and one of {", ".join(map(str, STRIDES))}'
            )
        if encoder == 'alexnet' and width != 64:
            raise ParameterError(
                f'width is {width}; AlexNet has 64 channels in its first layer: leave width at 64'
            )
        self.encoder: Encoder = VGG16Features(width) if encoder == 'vgg16' else AlexNetFeatures()
        start_convolutions(self.encoder)
        source = _ENCODERS[encoder]
        self._least = source.least
        *skipped, self._deepest = source.maps
        self._skipped = [number for number, stride in zip(skipped, STRIDES, strict=False) if stride >= finest]
        self._skipped.reverse()
        channels = self.encoder.channels
        self.score = nn.Conv2d(channels[self._deepest], n_classes, 1)
        self.skips = nn.ModuleList(nn.Conv2d(channels[n], n_classes, 1) for n in self._skipped)
        self.upsampling = nn.ModuleList(
            Upsampling(n_classes, 2, is_centred=source.is_centred) for _ in self._skipped
        )
        self.last = Upsampling(n_classes, finest, is_centred=source.is_centred)
        for skip in self.skips:  # an untrained skip adds nothing
            nn.init.zeros_(skip.weight)  # type: ignore[arg-type]
            nn.init.zeros_(skip.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised, to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride, self._least)
        padded = x.shape[-2:]
        maps = self.encoder(x)
        scores = self.score(maps[self._deepest])
        for number, skip, upsample in zip(self._skipped, self.skips, self.upsampling, strict=True):
            scores = upsample(scores) + skip(maps[number])
        scores = self.last(scores)
        missing = [max(0, wanted - got) for wanted, got in zip(padded, scores.shape[-2:], strict=True)]
        if any(missing):
            scores = F.pad(scores, (0, missing[1], 0, missing[0]), mode='replicate')
        result: Tensor = scores[..., :height, :width]
        return result
