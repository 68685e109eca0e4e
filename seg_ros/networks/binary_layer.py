"""Binary quantisation layer: turns feature maps into the bits of codes, inside the network.

M. Ravanbakhsh, H. Mousavi, M. Nabi, L. Marcenaro, C. Regazzoni, "Efficient convolutional neural network with
binary quantization layer", arXiv 1611.06764. Features are normalised over depth and rotated by a 1x1
convolution with weights from ITQ (hconv8). A sigmoid and a threshold turn the result into bits.

Deliberate differences: the layer may read several maps, a hypercolumn (Hariharan et al. 2015), and the colour
of the pixel. A 1x1 convolution of stacked maps is the sum of one convolution per map. Each map is therefore
convolved at its own size and resized afterwards. Colour enters per segment: the logits of the mean colour are
added to the mean logits of the maps. That is equivalent, because everything before the sigmoid is linear.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import Float64Array
from seg_ros.errors import ParameterError
from seg_ros.networks.layers import convolved_at

N_COLOUR_MOMENTS = 9
"""Number of components of the colour descriptor in ``seg_ros.segments.colour``."""


class BinaryLayer(nn.Module):
    """Normalises each map over depth, convolves it 1x1 and adds up; a bit is 1 where the sum is above 0.

    Args:
        channels: Number of channels of each map.
        n_bits: Number of bits of a code, a multiple of 8 in 8..256.
        has_colour: Whether the layer also reads the colour of a pixel.

    Raises:
        ParameterError: ``n_bits`` is out of range, or ``channels`` has no map or an empty one.
    """

    def __init__(self, channels: Sequence[int], n_bits: int, *, has_colour: bool = False) -> None:
        super().__init__()
        if n_bits % 8 or not 8 <= n_bits <= 256:
            raise ParameterError(f'n_bits is {n_bits}; expected a multiple of 8 in 8..256')
        if not channels or min(channels) < 1:
            raise ParameterError(
                f'channels are {list(channels)}; expected at least one map, each with 1 channel or more'
            )
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
        """Make a layer whose bits are the signs of ``(x - mean) @ projection``.

        Args:
            projection: (D, n_bits) float64, e.g. ``components_ @ rotation_`` of seg_ros.segments.itq.ITQ. The
                D components are the channels of the normalised maps in order, then the colour.
            mean: (D,) float64 mean of the components.
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
        """Logits of the bits, without colour.

        Args:
            maps: (B, channels, H, W) float each, maps of the same images at different sizes.
            size: (height, width) of the result. A map that is a whole number of times larger is averaged,
                others are interpolated bilinearly.

        Returns:
            (B, n_bits, height, width) float logits, before sigmoid and threshold.
        """
        logits = self.bias[:, None, None]
        for features, convolution in zip(maps, self.project, strict=True):
            logits = logits + convolved_at(F.normalize(features, dim=1), convolution, size)
        return logits

    def colour_logits(self, colours: Tensor) -> Tensor:
        """Logits to add for colour: (S, 9) float colours of pixels or segment means to (S, n_bits)."""
        if self.colour is None:
            return colours.new_zeros(len(colours), self.n_bits)
        part: Tensor = self.colour(colours)
        return part
