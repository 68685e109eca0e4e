"""Projection of activations back to the pixels, and receptive fields.

M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2: one
activation is kept and all others are set to zero. It is projected back to the pixels through the transposed
filters, through rectification, and through unpooling with the recorded positions of the maxima.

Autograd also goes back through transposed filters, recorded maxima, and batch normalisation, which is a
linear scale in evaluation mode. Only rectifiers differ: a gradient passes where the input was positive, while
a deconvnet passes positive values. So a projection is a backward pass with another rule for rectifiers. It
works for every network.

Deliberate difference: PReLU and ReLU6 are rectified like ReLU.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seg_ros.errors import UnavailableError, UnknownNameError
from seg_ros.networks.image_network import ImageNetwork

RECTIFIERS = ('relu', 'relu_', 'relu6', 'hardtanh', 'leaky_relu', 'prelu')
"""Names of the functions of torch to which the rule for rectifiers applies."""

_NOISE_IMAGES = 8
_SEEN = 1e-6  # minimum fraction of the largest gradient; smaller ones are rounding errors


@dataclass(frozen=True)
class ReceptiveField:
    """Pixels that a unit depends on.

    Attributes:
        top: First row, relative to the first pixel under the unit; -inf if the field reaches the border.
        left: First column, likewise.
        bottom: Row after the last one; inf if the field reaches the border.
        right: Column after the last one, likewise.
        stride: Number of rows and columns of pixels from one unit of the map to the next.
    """

    top: float
    left: float
    bottom: float
    right: float
    stride: tuple[int, int]

    @property
    def height(self) -> float:
        """Height in pixels; inf if it reaches the border of the image."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Width in pixels; inf if it reaches the border of the image."""
        return self.right - self.left

    def centre(self, row: int, column: int, size: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the pixel under the middle of a unit."""
        y, x = ((2 * k + 1) * s // 2 for k, s in zip((row, column), self.stride, strict=True))
        return min(y, size[0] - 1), min(x, size[1] - 1)


def map_layers(network: ImageNetwork, size: tuple[int, int]) -> dict[str, int]:
    """Find the sub-modules that return maps.

    Args:
        network: Network in evaluation mode.
        size: (height, width) of an image in pixels.

    Returns:
        Number of channels by name of the sub-module, in the order of computation.
    """
    found: dict[str, int] = {}

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            maps = _first(output)
            if maps is not None:
                found.setdefault(name, maps.shape[1])

        return hook

    hooks = [m.register_forward_hook(note(name)) for name, m in network.network.named_modules() if name]
    try:
        with torch.no_grad():
            network(torch.zeros(1, *size, 3, device=network.scale.device))
    finally:
        for handle in hooks:
            handle.remove()
    return found


def layer_maps(network: ImageNetwork, layer: str, image: Tensor) -> Tensor:
    """Compute the maps of a sub-module and nothing after it.

    Args:
        network: Network in evaluation mode.
        layer: Name of the sub-module. The first result of its first call counts.
        image: (H, W, 3) RGB in 0..255, of any data type.

    Returns:
        (C, h, w) float32, without the padding of the network.

    Raises:
        UnknownNameError: No sub-module of this name returns maps; the message lists those that do.
    """
    found: list[Tensor] = []

    def stop(_module: nn.Module, _inputs: object, output: object) -> None:
        maps = _first(output)
        if maps is not None:
            found.append(maps)
            raise _ReachedError

    modules = dict(network.network.named_modules())
    handle = modules[layer].register_forward_hook(stop) if layer and layer in modules else None
    try:
        if handle is not None:
            network(image[None])
    except _ReachedError:
        pass
    finally:
        if handle is not None:
            handle.remove()
    if not found:
        raise UnknownNameError('layer', layer, list(map_layers(network, (image.shape[0], image.shape[1]))))
    maps = found[0][0].float()
    height, width = (
        -(-length // _stride(length, n)) for length, n in zip(image.shape[:2], maps.shape[1:], strict=True)
    )
    return maps[:, :height, :width]


def project(network: ImageNetwork, layer: str, image: Tensor, unit: int, row: int, column: int) -> Tensor:
    """Project one activation back to the pixels, with the deconvnet of section 2.1.

    Args:
        network: Network in evaluation mode.
        layer: Name of a sub-module.
        image: (H, W, 3) RGB in 0..255.
        unit: Channel of the layer.
        row: Row in the map of the layer.
        column: Column in the map of the layer.

    Returns:
        (H, W, 3) float32, contribution of each pixel on the scale of the activation: positive = more of a
        colour channel raises the activation, negative = less of it does.

    Raises:
        UnknownNameError: The network has no such layer.
        UnavailableError: The network has no gradients because it computes in integers.
    """
    with _RectifierRule(lambda gradient: gradient.clamp(min=0)):
        pixels = image.detach().float().requires_grad_()
        maps = layer_maps(network, layer, pixels)
    kept = torch.zeros_like(maps)
    kept[unit, row, column] = maps[unit, row, column].detach()
    return _walk_back(maps, pixels, kept)


def receptive_field(network: ImageNetwork, layer: str, size: tuple[int, int]) -> ReceptiveField:
    """Measure the receptive field of a unit: pixels of noise whose gradient passes all rectifiers.

    Args:
        network: Network in evaluation mode.
        layer: Name of a sub-module.
        size: (height, width) of the image in pixels; larger fields are not measured.

    Raises:
        UnknownNameError: The network has no such layer.
        UnavailableError: The network has no gradients because it computes in integers.
    """
    generator = torch.Generator().manual_seed(0)
    bounds = [[math.inf, -math.inf], [math.inf, -math.inf]]
    for offset in range(_NOISE_IMAGES):  # pixels that a pooling hides from one unit reach its neighbour
        noise = 255 * torch.rand((*size, 3), generator=generator).to(network.scale.device)
        with _RectifierRule(lambda gradient: gradient):
            pixels = noise.requires_grad_()
            maps = layer_maps(network, layer, pixels)
        strides = _stride(size[0], maps.shape[1]), _stride(size[1], maps.shape[2])
        at = [(n // 2 + offset) % n for n in maps.shape[1:]]
        kept = torch.zeros_like(maps)
        kept[:, at[0], at[1]] = torch.rand(len(maps), generator=generator).to(maps) + 0.5
        strength = _walk_back(maps, pixels, kept).abs().amax(2)
        seen = strength > _SEEN * strength.max()
        for axis in (0, 1):
            where = seen.any(1 - axis).nonzero().flatten()
            if not len(where):  # the unit lies in the padding
                continue
            origin, first, behind = at[axis] * strides[axis], int(where[0]), int(where[-1]) + 1
            bounds[axis][0] = min(bounds[axis][0], first - origin if first else -math.inf)
            bounds[axis][1] = max(bounds[axis][1], behind - origin if behind < size[axis] else math.inf)
    (top, bottom), (left, right) = (pair if pair[0] < pair[1] else (-math.inf, math.inf) for pair in bounds)
    return ReceptiveField(top, left, bottom, right, strides)


def reach(picture: Tensor, row: int, column: int, fraction: float = 0.8) -> int:
    """Measure the size of the square around a pixel that holds most of a projection's energy.

    Args:
        picture: (H, W, 3) float, a projection.
        row: Row of the pixel.
        column: Column of the pixel.
        fraction: Fraction of the energy inside the square, 0..1.

    Returns:
        Half the side of the square in pixels.
    """
    energy = picture.double().square().sum(2).cpu().numpy()
    rows, columns = (np.abs(np.arange(n) - k) for n, k in zip(energy.shape, (row, column), strict=True))
    distance = np.maximum(rows[:, None], columns)
    within = np.bincount(distance.ravel(), energy.ravel()).cumsum()
    return int(np.searchsorted(within, fraction * within[-1]))


class _ReachedError(Exception):
    """Stops the network after the layer."""


class _Rectified(torch.autograd.Function):
    """Value of a rectifier, with a rule for its gradient."""

    @staticmethod
    def forward(ctx: Any, _x: Tensor, value: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.rule = rule
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rule(gradients[0]), None, None


class _RectifierRule(TorchFunctionMode):
    """Context in which all rectifiers, modules and functions, use a rule for their gradients."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._rule = rule

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if getattr(func, '__name__', '') not in RECTIFIERS:
            return func(*args, **options)
        x = options.pop('input') if 'input' in options else args[0]
        with torch.no_grad():
            value = func(x.clone(), *args[1:], **options)  # the function may work in place
        return _Rectified.apply(x, value, self._rule)  # type: ignore[no-untyped-call]


def _walk_back(maps: Tensor, pixels: Tensor, kept: Tensor) -> Tensor:
    if not maps.requires_grad:
        raise UnavailableError(
            'this network cannot be projected back to its pixels because it computes in integers; '
            'choose a model in fp32, fp16 or bf16'
        )
    (gradient,) = torch.autograd.grad(maps, pixels, kept, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient


def _first(output: object) -> Tensor | None:
    """Maps, (B, C, h, w), among the results of a module; None if there are none."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.ndim == 4 else None


def _stride(length: int, n: int) -> int:
    """Number of pixels from one unit to the next, a power of 2.

    Networks pad images until their sizes divide, but a size may also be rounded down, hence the tolerance.
    """
    return int(2 ** max(math.ceil(math.log2(length / n) - 0.1), 0))
