"""SqueezeNet 1.1 as an encoder, and a feature pyramid on it.

F. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv 1602.07360, and its
official revision 1.1. Deliberate difference: convolution and pooling are padded so that sizes halve exactly.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seg_ros.models.pyramid import Encoder, Pyramid


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


class SqueezeNetEncoder(Encoder):
    """The features of SqueezeNet 1.1, under torchvision's names: maps at 1/2, 1/4, 1/8 and 1/16."""

    channels = (64, 128, 256, 512)
    trained_on = 'SqueezeNet 1.1'
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
        """Features at 1/2, 1/4, 1/8 and 1/16 of (B, 3, H, W) float, H and W multiples of 16."""
        maps = []
        for first, last in self.stages:
            x = self.features[first:last](x)
            maps.append(x)
        return maps

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Take over torchvision's weights of SqueezeNet 1.1, with or without ``features.`` in their names."""
        named = {f'features.{k.removeprefix("features.")}': v for k, v in state.items()}
        self.load_state_dict({k: v for k, v in named.items() if not k.startswith('features.classifier')})


class SqueezeNetPyramid(Pyramid):
    """A pyramid on SqueezeNet 1.1; arguments as in :class:`Pyramid`."""

    def __init__(self, n_classes: int, *, width: int = 96, dropout: float = 0.1) -> None:
        super().__init__(SqueezeNetEncoder(), n_classes, width=width, dropout=dropout)
