"""FCN-32s, FCN-16s and FCN-8s: a classifier made fully convolutional, and skips from finer maps.

J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015:
section 3.3 on upsampling, section 4.2 on skips.

Deliberate difference: instead of 100 pixels of padding around the image and a crop, the image is padded to a
multiple of 32 by repeating its border, and fc6 keeps the size of its map.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.alexnet import AlexNetFeatures
from seg_ros.networks.layers import pad_to_multiple
from seg_ros.networks.pyramid import Encoder
from seg_ros.networks.vgg import VGG16Features


class _FcnEncoder(NamedTuple):
    """What FCN reads of an encoder.

    Attributes:
        maps: positions of those at 1/8 and 1/16, and of the deepest, in what the encoder gives.
        is_centred: whether every second value of a map lies on one of the next coarser map, as odd poolings
            leave it; else values of the coarser map lie between those of the finer.
        least: pixels each way below which nothing would be left of a map; a multiple of 32.
    """

    maps: tuple[int, int, int]
    is_centred: bool
    least: int


_SOURCES = {'vgg16': _FcnEncoder((2, 3, 4), False, 32), 'alexnet': _FcnEncoder((0, 1, 3), True, 64)}
STRIDES = (8, 16, 32)


class Upsampling(nn.ConvTranspose2d):
    """A full convolution that starts as bilinear interpolation of each channel.

    Args:
        channels: of input and output.
        factor: 2 or more, even.
        is_centred: see :class:`_FcnEncoder`; the result is then ``factor - 1`` larger than ``factor`` times
            the input.
    """

    def __init__(self, channels: int, factor: int, *, is_centred: bool) -> None:
        kernel, padding = (2 * factor - 1, 0) if is_centred else (2 * factor, factor // 2)
        super().__init__(channels, channels, kernel, factor, padding, bias=False)
        taps = 1 - (torch.arange(kernel) - (kernel - 1) / 2).abs() / factor
        with torch.no_grad():
            self.weight.zero_()
            self.weight[range(channels), range(channels)] = taps[:, None] * taps


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s.

    Args:
        n_classes: classes to tell apart, at least 1.
        encoder: 'vgg16' or 'alexnet'.
        finest: stride of the finest map that is read: 32, 16 or 8.
        width: of VGG16, see ``VGG16Features``; AlexNet has one width only.

    Attributes:
        encoder: which public weights fit.

    Raises:
        ParameterError: there is no such encoder or stride, or AlexNet is asked for another width.
    """

    stride = 32

    def __init__(self, n_classes: int, *, encoder: str = 'vgg16', finest: int = 8, width: int = 64) -> None:
        super().__init__()
        if encoder not in _SOURCES or finest not in STRIDES:
            raise ParameterError(
                f"encoder is '{encoder}', finest {finest}; "
                f'expected one of {", ".join(_SOURCES)} and one of {", ".join(map(str, STRIDES))}'
            )
        if encoder == 'alexnet' and width != 64:
            raise ParameterError(f'width is {width}; AlexNet has 64 channels in its first layer')
        self.encoder: Encoder = VGG16Features(width) if encoder == 'vgg16' else AlexNetFeatures()
        source = _SOURCES[encoder]
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
        for skip in self.skips:  # which changes nothing before it has learnt
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
