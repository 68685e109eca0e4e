"""The binary quantisation layer: from features to codes inside a network.

M. Ravanbakhsh, H. Mousavi, M. Nabi, L. Marcenaro, C. Regazzoni, "Efficient convolutional neural network with
binary quantization layer", arXiv 1611.06764: features are normalised over depth, a 1x1 convolution with
weights from ITQ (hconv8) rotates them, a sigmoid and a threshold make them bits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import ParameterError
from seg_ros.regions.itq import ITQ


class BinaryLayer(nn.Module):
    """Depth normalisation, 1x1 convolution, sigmoid.

    Args:
        in_channels: of the features.
        n_bits: of a code, a multiple of 8 in 8..256.

    Raises:
        ParameterError: ``n_bits`` is out of range.
    """

    def __init__(self, in_channels: int, n_bits: int) -> None:
        super().__init__()
        if n_bits % 8 or not 8 <= n_bits <= 256:
            raise ParameterError(f'n_bits is {n_bits}; expected a multiple of 8 in 8..256')
        self.project = nn.Conv2d(in_channels, n_bits, 1)

    @classmethod
    def from_itq(cls, itq: ITQ) -> 'BinaryLayer':
        """The layer that gives the bits of a fitted estimator, fitted to normalised features."""
        layer = cls(len(itq.mean_), itq.n_bits)
        weight = torch.from_numpy((itq.components_ @ itq.rotation_).T.copy())
        with torch.no_grad():
            layer.project.weight.copy_(weight[:, :, None, None])
            bias = layer.project.bias
            if bias is not None:
                bias.copy_(-weight @ torch.from_numpy(itq.mean_))
        return layer

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, H, W) float to (B, n_bits, H, W), before sigmoid and threshold: above 0 is a 1."""
        logits: Tensor = self.project(F.normalize(features, dim=1))
        return logits

    def soft_bits(self, features: Tensor) -> Tensor:
        """The sigmoid of :meth:`forward`, 0..1, through which codes are fine-tuned; a 1 is above 0.5."""
        logits: Tensor = self(features)
        return logits.sigmoid()
