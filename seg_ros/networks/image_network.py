"""A network that takes plain 8-bit images: normalisation in front of any architecture."""

import torch
from torch import Tensor, nn

from seg_ros.networks.normalisation import Normalisation


class ImageNetwork(nn.Module):
    """A network with its normalisation in front, from uint8 images to float32 scores.

    Args:
        network: Network from (B, 3, H, W) float to (B, n_classes, H, W) float scores; converted to ``dtype``.
        normalisation: Normalisation that the network was trained with.
        dtype: Dtype that the network computes in. Normalisation and scores stay float32.
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
            (B, n_classes, H, W) float32 scores; the last map if the network is an encoder.
        """
        batch, height, width, n_channels = images.shape
        scale, offset = self.scale.flatten(), self.offset.flatten()
        if self.flip:
            scale, offset = scale.flip(0), offset.flip(0)
        # Normalise whole rows at once: three channels do not fill a vector register.
        rows = images.reshape(batch, height, width * n_channels).float()
        rows = rows * scale.repeat(width) + offset.repeat(width)
        x = rows.view(batch, height, width, n_channels).permute(0, 3, 1, 2)
        if self.flip:
            x = x.flip(1)
        answer = self.network(x.to(self.dtype))
        scores: Tensor = (
            answer if isinstance(answer, Tensor) else answer[-1]
        )  # an encoder returns several maps
        return scores.float()
