"""ESPNetv2, a network of depth-wise dilated convolutions, under the names of its published weights.

S. Mehta, M. Rastegari, L. Shapiro, H. Hajishirzi, "ESPNetv2: a light-weight, power efficient, and general
purpose convolutional neural network", arXiv 1811.11431, CVPR 2019. Figure 1 gives the EESP unit, figure 2
the strided unit; the decoder for segmentation is that of the authors' repository EdgeNets (MIT licence).

Modules have the names of the authors' files, so that these load as they are.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.networks.layers import pad_to_multiple
from seg_ros.networks.pretrained import Pretrained

_N_BRANCHES = 4
WIDTHS = {
    0.5: (16, 32, 64, 128),
    1.0: (32, 64, 128, 256),
    1.25: (32, 80, 160, 320),
    1.5: (32, 96, 192, 384),
    2.0: (32, 128, 256, 512),
}
"""Factor of the width -> channels at 1/2, 1/4, 1/8 and 1/16 of the size of the image."""

UNUSED = frozenset(f'base_net.level{level}_0.eesp.module_act.weight' for level in (2, 3, 4))
"""Slopes in published files that the authors' network does not use."""

_N_UNITS = {'level3': 3, 'level4': 7}
_POOL_SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
_LEAST_POOLED = 5


class _ConvNormAct(nn.Module):
    """Convolution, batch norm, PReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, out_channels, size, stride, groups)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class _ConvNorm(nn.Module):
    """Convolution, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = _convolution(in_channels, out_channels, 1, 1, groups)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class _NormAct(nn.Module):
    """Batch norm, PReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(x))
        return out


class _Dilated(nn.Module):
    """A depth-wise 3x3 convolution."""

    def __init__(self, channels: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, 3, stride, dilation, dilation, groups=channels, bias=False
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class EESPUnit(nn.Module):
    """Figure 1b: group convolution, dilated depth-wise branches added one after the other, group convolution.

    Args:
        in_channels: Number of channels of the input, a multiple of 4.
        out_channels: Number of channels of the result, a multiple of 4.
        dilations: Dilation of each of the 4 branches, ascending.
        stride: 1, or 2 for the branch of `StridedUnit`, which is neither added to the input nor activated.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dilations: tuple[int, ...], stride: int = 1
    ) -> None:
        super().__init__()
        inner = out_channels // _N_BRANCHES
        self.stride = stride
        self.proj_1x1 = _ConvNormAct(in_channels, inner, 1, groups=_N_BRANCHES)
        self.spp_dw = nn.ModuleList(_Dilated(inner, stride, dilation) for dilation in dilations)
        self.conv_1x1_exp = _ConvNorm(out_channels, out_channels, groups=_N_BRANCHES)
        self.br_after_cat = _NormAct(out_channels)
        if stride == 1:
            self.module_act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.proj_1x1(x)
        branches = [self.spp_dw[0](reduced)]
        for branch in self.spp_dw[1:]:
            branches.append(branch(reduced) + branches[-1])  # hierarchical feature fusion
        out: Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(branches, 1)))
        if self.stride == 1:
            out = self.module_act(out + x)
        return out


class StridedUnit(nn.Module):
    """Figure 2: a strided EESP unit beside average pooling, and the image as a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.eesp = EESPUnit(in_channels, out_channels - in_channels, dilations, stride=2)
        self.inp_reinf = nn.Sequential(_ConvNormAct(3, 3, 3), _ConvNorm(3, out_channels))
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        out = torch.cat([_halved(x), self.eesp(x)], 1)
        while image.shape[-2] > out.shape[-2]:
            image = _halved(image)
        result: Tensor = self.act(out + self.inp_reinf(image))
        return result


class _Encoder(nn.Module):
    """Image to maps of 1/2, 1/4, 1/8 and 1/16 of its size."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.level1 = _ConvNormAct(3, channels[0], 3, stride=2)
        self.level2_0 = StridedUnit(channels[0], channels[1], _dilations(13))
        self.level3_0 = StridedUnit(channels[1], channels[2], _dilations(11))
        self.level3 = nn.Sequential(*_units(channels[2], _dilations(9), _N_UNITS['level3']))
        self.level4_0 = StridedUnit(channels[2], channels[3], _dilations(9))
        self.level4 = nn.Sequential(*_units(channels[3], _dilations(7), _N_UNITS['level4']))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        half = self.level1(image)
        quarter = self.level2_0(half, image)
        eighth = self.level3(self.level3_0(quarter, image))
        sixteenth = self.level4(self.level4_0(eighth, image))
        return half, quarter, eighth, sixteenth


class EfficientPyramid(nn.Module):
    """Depth-wise convolutions at five sizes of the map, merged.

    Args:
        in_channels: Number of channels of the input.
        inner: Number of channels at each size.
        out_channels: Number of channels of the result.
        is_last: Whether the result is scores, without batch norm and activation.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, is_last: bool = False) -> None:
        super().__init__()
        n_sizes = len(_POOL_SCALES)
        self.stages = nn.ModuleList(_convolution(inner, inner, 3, 1, inner) for _ in _POOL_SCALES)
        self.projection_layer = _Named('cbr', *_conv_norm_act(in_channels, inner, 1))
        self.merge_layer = nn.Sequential(
            _Named('br', *_norm_act(inner * n_sizes)),
            nn.ChannelShuffle(n_sizes),
            _Named('cbr', *_conv_norm_act(inner * n_sizes, inner, 3, groups=inner)),
            nn.Conv2d(inner, out_channels, 1, bias=is_last),
        )
        self.br = nn.Identity() if is_last else _Named('br', *_norm_act(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.projection_layer(x)
        maps = [_at_scale(x, stage, scale) for stage, scale in zip(self.stages, _POOL_SCALES, strict=True)]
        out: Tensor = self.br(self.merge_layer(torch.cat(maps, 1)))
        return out


class _WeightedConv(nn.Module):
    """A map of the encoder for the decoder: group convolution, weighted by the mean of the map."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.wt_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.Sigmoid()
        )
        groups = math.gcd(in_channels, out_channels)
        self.expansion_layer = _Named('cbr', *_conv_norm_act(in_channels, out_channels, 3, groups=groups))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.expansion_layer(x) * self.wt_layer(x)
        return out


class _Named(nn.Module):
    """Layers one after the other, under one more name, as in the published files."""

    def __init__(self, name: str, *layers: nn.Module) -> None:
        super().__init__()
        self._name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.get_submodule(self._name)(x)
        return out


class ESPNetv2(Pretrained):
    """ESPNetv2 for segmentation, as published.

    Args:
        n_classes: Number of classes, at least 1.
        scale: Factor of the width: 0.5, 1.0, 1.25, 1.5 or 2.0.

    Raises:
        ParameterError: ``scale`` is not one of these.
    """

    trained_on = 'ESPNetv2 for segmentation'
    stride = 16

    def __init__(self, n_classes: int, *, scale: float = 2.0) -> None:
        super().__init__()
        if scale not in WIDTHS:
            raise ParameterError(f'scale is {scale}; expected one of {", ".join(map(str, WIDTHS))}')
        channels = WIDTHS[scale]
        inner = min(max(n_classes // 2, 1), 16)
        self.base_net = _Encoder(channels)
        self.bu_dec_l1 = EfficientPyramid(channels[3], inner, 64)
        self.bu_dec_l2 = EfficientPyramid(64, inner, 48)
        self.bu_dec_l3 = EfficientPyramid(48, inner, 32)
        self.bu_dec_l4 = EfficientPyramid(32, inner, n_classes, is_last=True)
        self.merge_enc_dec_l2 = _WeightedConv(channels[2], 64)
        self.merge_enc_dec_l3 = _WeightedConv(channels[1], 48)
        self.merge_enc_dec_l4 = _WeightedConv(channels[0], 32)
        self.bu_br_l2 = nn.Sequential(*_norm_act(64))
        self.bu_br_l3 = nn.Sequential(*_norm_act(48))
        self.bu_br_l4 = nn.Sequential(*_norm_act(32))

    def load_pretrained(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of a published file, whose names these modules have.

        Strided units of the authors hold slopes that they do not use; these are left out.
        """
        self.load_named({key: value for key, value in state.items() if key not in UNUSED})

    def forward(self, x: Tensor) -> Tensor:
        """Scores of a batch of images.

        Args:
            x: (B, 3, H, W) float, normalised.

        Returns:
            (B, n_classes, H, W) float scores.
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        half, quarter, eighth, sixteenth = self.base_net(x)
        out = self.bu_dec_l1(sixteenth)
        out = self.bu_dec_l2(self.bu_br_l2(self.merge_enc_dec_l2(eighth) + _doubled(out)))
        out = self.bu_dec_l3(self.bu_br_l3(self.merge_enc_dec_l3(quarter) + _doubled(out)))
        out = self.bu_dec_l4(self.bu_br_l4(self.merge_enc_dec_l4(half) + _doubled(out)))
        return _doubled(out)[..., :height, :width]


def _convolution(in_channels: int, out_channels: int, size: int, stride: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False)


def _norm_act(channels: int) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(channels), nn.PReLU(channels)


def _conv_norm_act(in_channels: int, out_channels: int, size: int, groups: int = 1) -> tuple[nn.Module, ...]:
    return _convolution(in_channels, out_channels, size, 1, groups), *_norm_act(out_channels)


def _dilations(largest_field: int) -> tuple[int, ...]:
    """Dilations of the branches: kernels of 3, 5, 7 and 9 pixels where they fit the field, else of 3."""
    return tuple(sorted(k if 2 * k + 1 <= largest_field else 1 for k in range(1, _N_BRANCHES + 1)))


def _units(channels: int, dilations: tuple[int, ...], n_units: int) -> list[EESPUnit]:
    return [EESPUnit(channels, channels, dilations) for _ in range(n_units)]


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=2, padding=1)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)


def _at_scale(x: Tensor, stage: nn.Module, scale: float) -> Tensor:
    """Result of ``stage`` on a map of another size, at the size of the map."""
    full = x.shape[-2], x.shape[-1]
    size = tuple(max(math.ceil(n * scale), _LEAST_POOLED) for n in full)
    if scale < 1:
        out = stage(F.adaptive_avg_pool2d(x, (size[0], size[1])))
        return F.interpolate(out, full, mode='bilinear', align_corners=True)
    if scale > 1:
        out = stage(F.interpolate(x, size, mode='bilinear', align_corners=True))
        return F.adaptive_avg_pool2d(out, full)
    scaled: Tensor = stage(x)
    return scaled
