"""A feature pyramid on a pretrained encoder; the architecture of the teachers.

T.-Y. Lin et al., "Feature pyramid networks for object detection", 2017; H. Zhao et al., "Pyramid scene
parsing network", 2017, for the pooled context.

Deliberate differences:

- The pyramid is narrow and reaches half the size of the input. Most of its work is at that level, so its
  width is halved there.
- Levels are upsampled by repetition, because compilers fuse the backward pass of that.
- The last level scores the four pixels of each value by a 1x1 convolution and a shuffle (W. Shi et al.,
  "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
  network", CVPR 2016). That equals a 2x2 transposed convolution of stride 2, but can be computed in integers.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks.layers import doubled, mean_grid, pad_to_multiple, unfold_pixels
from seg_ros.networks.onnx_forms import is_exporting
from seg_ros.networks.pretrained import Pretrained


class Encoder(Pretrained):
    """A classification network without its head.

    Attributes:
        channels: Number of channels of each map that :meth:`forward` returns, at 1/2, 1/4, ... of the input
            unless the class says otherwise.
    """

    channels: tuple[int, ...]

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float, H and W multiples of 2 ** len(channels), to maps at 1/2, 1/4, ..."""


def _conv_norm_act(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Pyramid(nn.Module):
    """An encoder, context pooled over grids of cells, and a pyramid from the deepest map to the first.

    Args:
        encoder: Computes the maps.
        n_classes: Number of classes, at least 1.
        width: Number of channels of the pyramid; half as many at half the size of the input.
        dropout: Probability of dropout of a channel before the classifier.
        half_scores: Whether scores have half the height and width.
    """

    grids = (1, 2, 4)

    def __init__(
        self, encoder: Encoder, n_classes: int, *, width: int, dropout: float, half_scores: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        *shallow, deepest = encoder.channels
        self.stride = 2 ** len(encoder.channels)
        self.context = nn.ModuleList(_conv_norm_act(deepest, width // 4, 1) for _ in self.grids)
        self.top = _conv_norm_act(deepest + width // 4 * len(self.grids), width, 3)
        widths = [width // 2, *[width] * (len(shallow) - 1)]
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, w, 1, bias=False), nn.BatchNorm2d(w))
            for c, w in zip(shallow, widths, strict=True)
        )
        self.narrow = nn.Conv2d(width, width // 2, 1)
        self.smooth = nn.ModuleList(_conv_norm_act(w, w, 3) for w in widths)
        self.dropout = nn.Dropout2d(dropout)
        self.half_scores = half_scores
        self.classify = nn.Conv2d(width // 2, n_classes if half_scores else 4 * n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) float to (B, n_classes, H, W) scores; half as large, rounded up, with half_scores."""
        height, width = x.shape[-2:]
        *shallow, deepest = self.encoder(pad_to_multiple(x, self.stride))
        size = deepest.shape[-2:]
        context = [
            F.interpolate(layer(mean_grid(deepest, grid)), size, mode='bilinear')
            for grid, layer in zip(self.grids, self.context, strict=True)
        ]
        x = self.top(torch.cat([deepest, *context], dim=1))
        for level in reversed(range(len(shallow))):
            if level == 0:
                x = self.narrow(x)
            x = self.smooth[level](doubled(x) + self.lateral[level](shallow[level]))
        if is_exporting():  # cutting off the padding costs less before there are four values a pixel
            x = x[..., : -(-height // 2), : -(-width // 2)]
        scores: Tensor = self.classify(self.dropout(x))
        if self.half_scores:
            return scores[..., : -(-height // 2), : -(-width // 2)]
        return unfold_pixels(scores)[..., :height, :width]
