"""Convolutions of 8-bit activations with 8-bit weights.

B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018: activations are affine, ``real = scale * (step - zero_point)`` with steps 0..255 and
one scale a tensor; weights are symmetric, with one scale an output channel.

The modules are written as quantise, dequantise, convolve. Run as they are, they compute in float what
integers would give. Compilers and ONNX Runtime know the form and put integer convolutions in its place.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import UnavailableError

with suppress(ImportError):  # another version of torch may keep them elsewhere
    import torch.ao.quantization.fx._decomposed  # registers the operations below

_LAST_STEP, _LAST_WEIGHT = 255, 127


def affine(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of 8-bit steps over a range, which is widened to hold 0: padding must be exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / _LAST_STEP, torch.finfo(torch.float32).tiny)
    return scale, min(max(round(-low / scale), 0), _LAST_STEP)


def integer_operations() -> Any:
    """Torch's operations between numbers and steps.

    Raises:
        UnavailableError: this version of torch has none.
    """
    if not hasattr(torch.ops.quantized_decomposed, 'quantize_per_tensor'):
        raise UnavailableError(
            f'torch {torch.__version__} has no quantized_decomposed operations, which int8 needs; '
            'take another version of torch, or another quantization level'
        )
    return torch.ops.quantized_decomposed


class QuantizedConv2d(nn.Module):
    """A Conv2d in 8 bits.

    Args:
        convolution: whose place it takes; float.
        steps: of its weight, int8 in -127..127.
        weight_scale: (out_channels,) float32, above 0.
        low, high: range of what comes in.
    """

    def __init__(
        self, convolution: nn.Conv2d, steps: Tensor, weight_scale: Tensor, low: float, high: float
    ) -> None:
        super().__init__()
        integer_operations()
        self.scale, self.zero_point = affine(low, high)
        self.geometry = (
            convolution.stride,
            convolution.padding,
            convolution.dilation,
            convolution.groups,
        )
        bias = convolution.bias
        self.register_buffer('steps', steps)
        self.register_buffer('weight_scale', weight_scale)
        self.register_buffer('weight_zero_point', torch.zeros(len(weight_scale), dtype=torch.int64))
        self.register_buffer(
            'bias', torch.zeros(len(weight_scale)) if bias is None else bias.detach().float()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float to (B, out_channels, H', W') float."""
        integers = torch.ops.quantized_decomposed
        of_activations = (self.scale, self.zero_point, 0, _LAST_STEP, torch.uint8)
        x = integers.quantize_per_tensor.default(x, *of_activations)
        x = integers.dequantize_per_tensor.default(x, *of_activations)
        weight = integers.dequantize_per_channel.default(
            self.steps,
            self.weight_scale,
            self.weight_zero_point,
            0,
            -_LAST_WEIGHT - 1,
            _LAST_WEIGHT,
            torch.int8,
        )
        result: Tensor = F.conv2d(x, weight, self.bias, *self.geometry)  # type: ignore[arg-type]
        return result


class QuantizedConvTranspose2d(nn.Module):
    """A ConvTranspose2d of stride 2 in 8 bits, as a convolution that gives four pixels for one.

    Integer kernels for transposed convolutions are rare. Each of the four pixels that a stride of 2 makes of
    one sees a part of the kernel (W. Shi et al., "Is the deconvolution layer the same as a convolutional
    layer?", 2016), so a 2x2 convolution with four times the channels, and a shuffle, compute the same.

    Args:
        convolution: of a form that :meth:`takes`.
        low, high: range of what comes in.
    """

    _FORMS = {((3, 3), (1, 1), (1, 1)): 2, ((2, 2), (0, 0), (0, 0)): 1}
    """Kernel, padding, output padding -> size of the kernel of the convolution."""

    def __init__(self, convolution: nn.ConvTranspose2d, quantized: QuantizedConv2d) -> None:
        super().__init__()
        self.out_channels = convolution.out_channels
        self.size = self._FORMS[self._form(convolution)]
        self.convolution = quantized

    @classmethod
    def takes(cls, convolution: nn.ConvTranspose2d) -> bool:
        """Whether it is of a form that this class knows."""
        plain = convolution.stride == (2, 2) and convolution.dilation == (1, 1) and convolution.groups == 1
        return plain and cls._form(convolution) in cls._FORMS

    @classmethod
    def as_convolution(cls, convolution: nn.ConvTranspose2d) -> nn.Conv2d:
        """A Conv2d with 4 * out_channels results: those of row 0, column 0 first, then of row 0, column 1."""
        size = cls._FORMS[cls._form(convolution)]
        weight = convolution.weight.detach()  # (in, out, kernel, kernel)
        n_in, n_out = weight.shape[:2]
        phases = weight.new_zeros(2, 2, n_out, n_in, size, size)
        for (row, down), i in _taps(size).items():
            for (column, right), j in _taps(size).items():
                phases[row, column, :, :, down, right] = weight[:, :, i, j].T
        result = nn.Conv2d(n_in, 4 * n_out, size, bias=convolution.bias is not None, device=weight.device)
        with torch.no_grad():
            result.weight.copy_(phases.reshape(4 * n_out, n_in, size, size))
            if convolution.bias is not None and result.bias is not None:
                result.bias.copy_(convolution.bias.repeat(4))
        return result

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float to (B, out_channels, 2 H, 2 W) float, channels last in memory."""
        batch, _, height, width = x.shape
        missing = self.size - 1
        phases = self.convolution(F.pad(x, (0, missing, 0, missing)) if missing else x).permute(0, 2, 3, 1)
        phases = phases.reshape(batch, height, width, 2, 2, self.out_channels).permute(0, 1, 3, 2, 4, 5)
        pixels: Tensor = phases.reshape(batch, 2 * height, 2 * width, self.out_channels).permute(0, 3, 1, 2)
        return pixels

    @staticmethod
    def _form(convolution: nn.ConvTranspose2d) -> Any:
        return convolution.kernel_size, convolution.padding, convolution.output_padding


def _taps(size: int) -> dict[tuple[int, int], int]:
    """Along one axis: (phase, neighbour) -> the tap of the transposed kernel between them."""
    return {(0, 0): 1, (1, 0): 2, (1, 1): 0} if size == 2 else {(0, 0): 0, (1, 0): 1}
