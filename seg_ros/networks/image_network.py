"""Images on their way into a network: resizing and normalisation."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError


@dataclass(frozen=True)
class Normalisation:
    """How 8-bit values become network input: value / 255, minus mean, divided by std, in channel_order.

    Attributes:
        mean: per channel, in the network's channel order, on the 0..1 scale.
        std: per channel, above 0.
        channel_order: 'rgb' or 'bgr', what the network was trained on.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: str = 'rgb'

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not np.isfinite(values).all() or min(self.std) <= 0:
            raise ModelFileError(
                f'normalisation mean {self.mean}, std {self.std}: expected 3 finite values each, std above 0'
            )
        if self.channel_order not in ('rgb', 'bgr'):
            raise ModelFileError(f"channel order '{self.channel_order}'; expected 'rgb' or 'bgr'")

    def as_json(self) -> dict[str, Any]:
        """The form that model files use."""
        return asdict(self)


class ImageNetwork(nn.Module):
    """A network with its normalisation in front, so that whoever runs it hands over plain images.

    Args:
        network: maps (B, 3, H, W) float to (B, n_classes, H, W) scores.
        normalisation: what the network was trained with.
        dtype: what the network computes in; normalisation and scores stay float32.
    """

    def __init__(
        self, network: nn.Module, normalisation: Normalisation, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype
        self.flip = normalisation.channel_order == 'bgr'
        scale = torch.tensor(normalisation.std) * 255
        self.scale: Tensor
        self.offset: Tensor
        offset = -torch.tensor(normalisation.mean) / torch.tensor(normalisation.std)
        self.register_buffer('scale', (1 / scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('offset', offset.view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of a batch of images.

        Args:
            images: (B, H, W, 3) uint8 RGB.

        Returns:
            (B, n_classes, H, W) float32 scores; of an encoder alone, its last map.
        """
        batch, height, width, n_channels = images.shape
        scale, offset = self.scale.flatten(), self.offset.flatten()
        if self.flip:
            scale, offset = scale.flip(0), offset.flip(0)
        # Whole rows at once: three channels alone fill a vector register badly.
        rows = images.reshape(batch, height, width * n_channels).float()
        rows = rows * scale.repeat(width) + offset.repeat(width)
        x = rows.view(batch, height, width, n_channels).permute(0, 3, 1, 2)
        if self.flip:
            x = x.flip(1)
        answer = self.network(x.to(self.dtype))
        scores: Tensor = answer if isinstance(answer, Tensor) else answer[-1]  # an encoder gives its maps
        return scores.float()
