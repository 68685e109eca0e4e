"""SqueezeNet 1.1 as an encoder, and a feature pyramid on it.

F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv 1602.07360, and its
official revision 1.1; T.-Y. Lin et al., "Feature pyramid networks for object detection", 2017; H. Zhao et
al., "Pyramid scene parsing network", 2017, for the pooled context.

Deliberate differences: convolution and pooling are padded so that sizes halve exactly; the pyramid is
narrow and ends at half the input's size.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ModelFileError
from seg_ros.models.layers import pad_to_multiple


class Fire(nn.Module):
    """A 1x1 squeeze, then 1x1 and 3x3 expansions side by side: (B, C, H, W) to (B, 2 expand, H, W)."""

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu()


class SqueezeNetEncoder(nn.Module):
    """The features of SqueezeNet 1.1, under torchvision's names.

    Attributes:
        channels: of the feature maps that :meth:`forward` returns.
    """

    channels = (64, 128, 256, 512)
    stages = ((0, 2), (2, 5), (5, 8), (8, 13))

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, padding=1),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, padding=1),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8 and 1/16 of the size.

        Args:
            x: (B, 3, H, W) float, H and W multiples of 16.

        Returns:
            Maps of 64, 128, 256 and 512 channels.
        """
        maps = []
        for first, last in self.stages:
            x = self.features[first:last](x)
            maps.append(x)
        return maps

    def load_weights(self, path: Path) -> None:
        """Load ImageNet weights: a state dict of torchvision's SqueezeNet 1.1, with or without ``features.``.

        Raises:
            ModelFileError: the file is missing, is no plain state dict, or is of another network.
        """
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
            named = {f'features.{k.removeprefix("features.")}': v for k, v in state.items()}
            self.load_state_dict({k: v for k, v in named.items() if not k.startswith('features.classifier')})
        except Exception as err:  # torch raises many kinds for a damaged file
            raise ModelFileError(f'{path} holds no weights of SqueezeNet 1.1: {err}') from err


def _conv_norm_act(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class SqueezeNetPyramid(nn.Module):
    """SqueezeNet 1.1, context by pooling over grids of 1, 2, 4 and 8 cells, and a pyramid down to half size.

    Args:
        n_classes: classes to tell apart.
        width: channels of the pyramid.
        dropout: of whole channels before the classifier.
    """

    stride = 16

    def __init__(self, n_classes: int, *, width: int = 96, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = SqueezeNetEncoder()
        deepest = self.encoder.channels[-1]
        self.grids = (1, 2, 4, 8)
        self.context = nn.ModuleList(_conv_norm_act(deepest, width // 4, 1) for _ in self.grids)
        self.top = _conv_norm_act(deepest + width // 4 * len(self.grids), width, 3)
        self.lateral = nn.ModuleList(_conv_norm_act(c, width, 1) for c in self.encoder.channels[:-1])
        self.smooth = nn.ModuleList(_conv_norm_act(width, width, 3) for _ in self.encoder.channels[:-1])
        self.classify = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(width, n_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float to (B, n_classes, H, W) scores."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.stride)
        padded = x.shape[-2:]
        *shallow, deepest = self.encoder(x)
        size = deepest.shape[-2:]
        context = [
            F.interpolate(layer(F.adaptive_avg_pool2d(deepest, grid)), size, mode='bilinear')
            for grid, layer in zip(self.grids, self.context, strict=True)
        ]
        x = self.top(torch.cat([deepest, *context], dim=1))
        steps = zip(shallow, self.lateral, self.smooth, strict=True)
        for features, lateral, smooth in reversed(list(steps)):
            x = smooth(F.interpolate(x, features.shape[-2:], mode='bilinear') + lateral(features))
        scores = F.interpolate(self.classify(x), padded, mode='bilinear')
        return scores[..., :height, :width]
