"""EfficientNet-Lite as an encoder, and a feature pyramid on it.

M. Tan and Q. Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", arXiv
1905.11946, in the Lite variant: no squeeze-and-excitation, ReLU6, stem and head of fixed width.

Deliberate difference: the public weights come from TensorFlow, which pads an image of even size only at the
bottom and the right. Here padding is the same on all sides. That shifts each map by less than one of its
pixels. In return no map is copied to be padded, and compilers find a chain of convolutions.
"""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.networks.pyramid import Encoder, Pyramid

SCALES = {
    'lite0': (1.0, 1.0),
    'lite1': (1.0, 1.1),
    'lite2': (1.1, 1.2),
    'lite3': (1.2, 1.4),
    'lite4': (1.4, 1.8),
}
"""Factors of width and depth, by variant."""

STAGES = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution without bias whose result has size / stride, for sizes that divide by the stride."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; added to the input if the shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self.expand, self.expand_norm = _convolution(in_channels, inner, 1), _norm(inner)
            self.expand_act = nn.ReLU6()
        self.depthwise = _convolution(inner, inner, kernel, stride, groups=inner)
        self.depthwise_norm, self.depthwise_act = _norm(inner), nn.ReLU6()
        self.project, self.project_norm = _convolution(inner, out_channels, 1), _norm(out_channels)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        inner = self.expand_act(self.expand_norm(self.expand(x))) if self.expands else x
        inner = self.depthwise_act(self.depthwise_norm(self.depthwise(inner)))
        inner = self.project_norm(self.project(inner))
        result: Tensor = x + inner if self.adds else inner
        return result


class EfficientNetLiteEncoder(Encoder):
    """Blocks of EfficientNet-Lite: maps at 1/2, 1/4, ..., each from the last stage of its size.

    Args:
        variant: Name in SCALES.
        stages: Number of STAGES to build, 1..7. The last three hold nine tenths of the parameters.

    Raises:
        ModelFileError: The variant is unknown.
        ParameterError: ``stages`` is out of range.
    """

    def __init__(self, variant: str, stages: int = len(STAGES)) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ModelFileError(f"unknown EfficientNet variant '{variant}'; known: {', '.join(SCALES)}")
        if not 1 <= stages <= len(STAGES):
            raise ParameterError(f'stages is {stages}; EfficientNet-Lite has 1 to {len(STAGES)}')
        strides = [stride for _, _, stride, _, _ in STAGES[:stages]]
        self.maps_after = [k for k, stride in enumerate([*strides[1:], 2]) if stride == 2]
        self.trained_on = f'EfficientNet-{variant}'
        wide, deep = SCALES[variant]
        self.stem, self.stem_norm = _convolution(3, 32, 3, stride=2), _norm(32)
        self.stem_act = nn.ReLU6()
        channels, widths = 32, []
        self.stages = nn.ModuleList()
        for number, (repeats, kernel, stride, expansion, out_channels) in enumerate(STAGES[:stages]):
            out_channels = _round_to_eight(wide * out_channels)
            if 0 < number < len(STAGES) - 1:  # Lite variants keep one block in the first and the last stage
                repeats = math.ceil(deep * repeats)
            blocks = []
            for block in range(repeats):
                blocks.append(
                    InvertedResidual(channels, out_channels, kernel, stride if block == 0 else 1, expansion)
                )
                channels = out_channels
            self.stages.append(nn.Sequential(*blocks))
            widths.append(out_channels)
        self.channels = tuple(widths[stage] for stage in self.maps_after)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 2 ** len(channels), to maps at 1/2, 1/4, ..."""
        x = self.stem_act(self.stem_norm(self.stem(x)))
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in self.maps_after:
                maps.append(x)
        return maps

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load weights under the names of the PyTorch ports: ``_conv_stem``, ``_blocks.0._bn1``, ...

        Weights of stages that this encoder lacks are ignored.
        """
        parts = {
            '_expand_conv': 'expand',
            '_bn0': 'expand_norm',
            '_depthwise_conv': 'depthwise',
            '_bn1': 'depthwise_norm',
            '_project_conv': 'project',
            '_bn2': 'project_norm',
        }
        renamed = {'_conv_stem': 'stem', '_bn0': 'stem_norm'}
        places = [name for name, block in self.named_modules() if isinstance(block, InvertedResidual)]
        for flat, place in enumerate(places):
            renamed.update({f'_blocks.{flat}.{old}': f'{place}.{new}' for old, new in parts.items()})
        own = {}
        for key, value in state.items():
            layer, _, tensor = key.rpartition('.')
            block = layer.removeprefix('_blocks.').split('.')[0]
            is_beyond = block.isdigit() and int(block) >= len(places)
            if not is_beyond and layer not in ('_conv_head', '_bn1', '_fc'):
                own[f'{renamed.get(layer, layer)}.{tensor}'] = value
        self.load_named(own)


class EfficientNetLitePyramid(Pyramid):
    """A pyramid on EfficientNet-Lite or on its first stages; other arguments as in :class:`Pyramid`."""

    def __init__(
        self,
        n_classes: int,
        *,
        variant: str = 'lite0',
        stages: int = len(STAGES),
        width: int = 96,
        dropout: float = 0.1,
        half_scores: bool = False,
    ) -> None:
        encoder = EfficientNetLiteEncoder(variant, stages)
        super().__init__(encoder, n_classes, width=width, dropout=dropout, half_scores=half_scores)


def _round_to_eight(channels: float) -> int:
    """Round to the nearest multiple of eight, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
