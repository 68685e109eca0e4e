"""The binary quantisation layer: from feature maps to codes inside a network.

M. Ravanbakhsh, H. Mousavi, M. Nabi, L. Marcenaro, C. Regazzoni, "Efficient convolutional neural network with
binary quantization layer", arXiv 1611.06764: features are normalised over depth, a 1x1 convolution with
weights from ITQ (hconv8) rotates them, a sigmoid and a threshold make them bits.

Here it may read several maps at once, a hypercolumn (Hariharan et al. 2015), and the colour of the pixel. A
1x1 convolution of stacked maps is the sum of one for each, so maps are convolved where they are small and
only then brought to one size; what a segment's mean colour adds is added to the segment's mean, which is the
same since all of this is linear.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import Float64Array
from seg_ros.errors import ParameterError
from seg_ros.networks.layers import convolved_at

N_COLOUR_MOMENTS = 9
"""Components of ``seg_ros.segments.colour``'s description of a colour."""


class BinaryLayer(nn.Module):
    """Depth normalisation of every map, 1x1 convolution, sum; a bit is 1 where the result is above 0.

    Args:
        channels: of each map.
        n_bits: of a code, a multiple of 8 in 8..256.
        has_colour: whether the colour of a pixel counts too.

    Raises:
        ParameterError: ``n_bits`` is out of range, or there is nothing to read.
    """

    def __init__(self, channels: Sequence[int], n_bits: int, *, has_colour: bool = False) -> None:
        super().__init__()
        if n_bits % 8 or not 8 <= n_bits <= 256:
            raise ParameterError(f'n_bits is {n_bits}; expected a multiple of 8 in 8..256')
        if not channels or min(channels) < 1:
            raise ParameterError(f'channels are {list(channels)}; expected one map or more, none empty')
        self.n_bits = n_bits
        self.project = nn.ModuleList(nn.Conv2d(count, n_bits, 1, bias=False) for count in channels)
        self.bias = nn.Parameter(torch.zeros(n_bits))
        self.colour = nn.Linear(N_COLOUR_MOMENTS, n_bits, bias=False) if has_colour else None

    @classmethod
    def from_projection(
        cls,
        projection: Float64Array,
        mean: Float64Array,
        channels: Sequence[int],
        *,
        has_colour: bool = False,
    ) -> 'BinaryLayer':
        """A layer whose bits are the signs of ``(x - mean) @ projection``.

        Args:
            projection: (D, n_bits) float64, e.g. ``components_ @ rotation_`` of seg_ros.segments.itq.ITQ. The
                D components are the normalised maps one after the other, then the colour.
            mean: (D,) float64.
            channels: Number of channels of each map.
            has_colour: Whether the last components are the colour.
        """
        layer = cls(channels, projection.shape[1], has_colour=has_colour)
        matrix = torch.from_numpy(projection.T.copy()).float()
        parts = [*channels, N_COLOUR_MOMENTS if has_colour else 0]
        *maps, colour = torch.split(matrix, parts, dim=1)
        with torch.no_grad():
            for convolution, weight in zip(layer.project, maps, strict=True):
                assert isinstance(convolution, nn.Conv2d)
                convolution.weight.copy_(weight[:, :, None, None])
            if layer.colour is not None:
                layer.colour.weight.copy_(colour)
            layer.bias.copy_(-matrix @ torch.from_numpy(mean).float())
        return layer

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """What the bits are the signs of, without the colour's part.

        Args:
            maps: (B, channels, H, W) float each, of one image in different sizes.
            size: (height, width) of the result; maps a whole number of times as large are averaged, others
                interpolated bilinearly.

        Returns:
            (B, n_bits, height, width), before sigmoid and threshold.
        """
        logits = self.bias[:, None, None]
        for features, convolution in zip(maps, self.project, strict=True):
            logits = logits + convolved_at(F.normalize(features, dim=1), convolution, size)
        return logits

    def colour_logits(self, colours: Tensor) -> Tensor:
        """The colour's part: (S, 9) float colours of pixels, or means over segments, to (S, n_bits)."""
        if self.colour is None:
            return colours.new_zeros(len(colours), self.n_bits)
        part: Tensor = self.colour(colours)
        return part
