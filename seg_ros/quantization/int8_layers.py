"""Convolutions of 8-bit activations with 8-bit weights.

B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018. Activations are affine, ``real = scale * (step - zero_point)``, with steps 0..255 and
one scale per tensor. Weights are symmetric, with one scale per output channel.

The modules quantise, dequantise and convolve. Run eagerly, they compute in float the result of integer
arithmetic. Compilers and ONNX Runtime recognise the pattern and replace it by integer convolutions.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.errors import UnavailableError
from seg_ros.networks import onnx_forms

with suppress(ImportError):  # other versions of torch may have it elsewhere
    import torch.ao.quantization.fx._decomposed  # registers the operations below

_LAST_STEP, _LAST_WEIGHT = 255, 127


def affine(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of 8-bit steps over a range, widened to include 0, so that padding is exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / _LAST_STEP, torch.finfo(torch.float32).tiny)
    return scale, min(max(round(-low / scale), 0), _LAST_STEP)


def integer_operations() -> Any:
    """Torch's operations that quantise and dequantise.

    Raises:
        UnavailableError: This version of torch lacks them.
    """
    if not hasattr(torch.ops.quantized_decomposed, 'quantize_per_tensor'):
        raise UnavailableError(
            f'torch {torch.__version__} has no quantized_decomposed operations, which int8 needs; '
            'install another version of torch, or choose another quantization level'
        )
    return torch.ops.quantized_decomposed


class Rounding(nn.Module):
    """Rounds values to 8-bit steps and returns the rounded values.

    Args:
        low: Lower end of the range; smaller values become ``low``.
        high: Upper end of the range; larger values become ``high``.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        integer_operations()
        self.scale, self.zero_point = affine(low, high)

    def forward(self, x: Tensor) -> Tensor:
        """Float of any shape to float of the same shape."""
        if onnx_forms.is_exporting() and onnx_forms.is_image(x):
            return onnx_forms.by_pixel(x, self._rounded)
        return self._rounded(x)

    def _rounded(self, x: Tensor) -> Tensor:
        integers, settings = integer_operations(), (self.scale, self.zero_point, 0, _LAST_STEP, torch.uint8)
        steps = integers.quantize_per_tensor.default(x, *settings)
        result: Tensor = integers.dequantize_per_tensor.default(steps, *settings)
        return result


class QuantizedConv2d(nn.Module):
    """A Conv2d in 8 bits.

    Args:
        convolution: The float convolution to replace.
        steps: Steps of its weight, int8 in -127..127.
        weight_scale: (out_channels,) float32 scales of the weight, above 0.
        rounding: Rounding of the input; None = the input is rounded already.
    """

    def __init__(
        self, convolution: nn.Conv2d, steps: Tensor, weight_scale: Tensor, rounding: Rounding | None
    ) -> None:
        super().__init__()
        self.rounding = rounding or nn.Identity()
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
        weight = integer_operations().dequantize_per_channel.default(
            self.steps,
            self.weight_scale,
            self.weight_zero_point,
            0,
            -_LAST_WEIGHT - 1,
            _LAST_WEIGHT,
            torch.int8,
        )
        result: Tensor = F.conv2d(self.rounding(x), weight, self.bias, *self.geometry)  # type: ignore[arg-type]
        return result


def has_float_work(network: nn.Module) -> bool:
    """Whether a network has 8-bit convolutions and float ones, such as transposed convolutions.

    In a network without float convolutions, most float operations are sums of branches. They are cheap, so
    they can have full precision.
    """
    kinds = {type(module) for module in network.modules()}
    return {QuantizedConv2d, nn.ConvTranspose2d} <= kinds
