"""What the units of a layer respond to: where they respond most, and which pixels made them.

M. Zeiler, R. Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 2: one
activation is kept, all others are set to zero, and it goes back to the pixels through the transposed filters,
through rectification, and through unpooling with the recorded positions of the maxima.

Autograd walks back through transposed filters and recorded maxima too, and through batch normalisation, a
linear scale in evaluation mode. Only rectifiers differ: a gradient passes where the input was positive, a
deconvnet passes what is positive itself. So a projection is a backward pass with another rule for rectifiers,
which works for every network.

Deliberate differences: PReLU and ReLU6 are rectified like ReLU; only the maximum of an image counts, so that
the nine images of a unit are nine.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from seg_ros.arrays import Float64Array, UInt8Array
from seg_ros.errors import UnavailableError, UnknownNameError
from seg_ros.images.resize import resize_image
from seg_ros.networks.image_network import ImageNetwork

RECTIFIERS = ('relu', 'relu_', 'relu6', 'hardtanh', 'leaky_relu', 'prelu')
"""Functions of torch, by name, that a deconvnet goes back through by rectification."""

_NOISE_IMAGES = 8
_SEEN = 1e-6  # of the largest gradient; below lie rounding and what does not matter


@dataclass(frozen=True)
class Peak:
    """Where an image moved a unit most.

    Attributes:
        value: of the activation.
        image: position of the image in the order in which they were seen.
        row: of the layer's map.
        column: of the layer's map.
    """

    value: float
    image: int
    row: int
    column: int


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that a unit sees.

    Attributes:
        top: first row of them, relative to the first pixel under the unit; -inf where the border of the image
            came first.
        left: first column, likewise.
        bottom: the row behind the last one; inf where the border came first.
        right: the column behind the last one, likewise.
        stride: rows and columns of pixels from one unit of the map to the next.
    """

    top: float
    left: float
    bottom: float
    right: float
    stride: tuple[int, int]

    @property
    def height(self) -> float:
        """In pixels; inf where it is more than the image has."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """In pixels; inf where it is more than the image has."""
        return self.right - self.left

    def centre(self, row: int, column: int, size: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the pixel in the middle of those under the unit."""
        y, x = ((2 * k + 1) * s // 2 for k, s in zip((row, column), self.stride, strict=True))
        return min(y, size[0] - 1), min(x, size[1] - 1)


def map_layers(network: ImageNetwork, size: tuple[int, int]) -> dict[str, int]:
    """The sub-modules that give maps, in the order in which they are done, and the channels of their maps.

    Args:
        network: in evaluation mode.
        size: (height, width) of an image.
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
    """What a sub-module makes of an image; what comes after it is not computed.

    Args:
        network: in evaluation mode.
        layer: name of the sub-module; of several results the first counts, and the first of several calls.
        image: (H, W, 3) RGB in 0..255, of any type.

    Returns:
        (C, h, w) float32, with what the network padded cut off.

    Raises:
        UnknownNameError: no sub-module of this name gives maps; lists those that do.
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
    """The pixels that one activation came from, by section 2.1's deconvnet.

    Args:
        network: in evaluation mode.
        layer: name of a sub-module.
        image: (H, W, 3) RGB in 0..255.
        unit: channel of the layer.
        row: of the layer's map.
        column: of the layer's map.

    Returns:
        (H, W, 3) float32: which colours, from where, made the activation; positive means more of a channel,
        negative less, the scale is the activation's.

    Raises:
        UnknownNameError: there is no such layer.
        UnavailableError: the network cannot be walked back, as one that computes in whole numbers cannot.
    """
    with _RectifierRule(lambda gradient: gradient.clamp(min=0)):
        pixels = image.detach().float().requires_grad_()
        maps = layer_maps(network, layer, pixels)
    kept = torch.zeros_like(maps)
    kept[unit, row, column] = maps[unit, row, column].detach()
    return _walk_back(maps, pixels, kept)


def receptive_field(network: ImageNetwork, layer: str, size: tuple[int, int]) -> ReceptiveField:
    """What a unit sees, measured: pixels of noise that have a gradient where rectifiers let all of it pass.

    Args:
        network: in evaluation mode.
        layer: name of a sub-module.
        size: (height, width) of the image, which bounds what can be measured.

    Raises:
        UnknownNameError, UnavailableError: as :func:`project`.
    """
    generator = torch.Generator().manual_seed(0)
    bounds = [[math.inf, -math.inf], [math.inf, -math.inf]]
    for offset in range(_NOISE_IMAGES):  # what a pooling hides from one unit, it shows to its neighbour
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
            if not len(where):  # a unit that lies in a padding
                continue
            origin, first, behind = at[axis] * strides[axis], int(where[0]), int(where[-1]) + 1
            bounds[axis][0] = min(bounds[axis][0], first - origin if first else -math.inf)
            bounds[axis][1] = max(bounds[axis][1], behind - origin if behind < size[axis] else math.inf)
    (top, bottom), (left, right) = (pair if pair[0] < pair[1] else (-math.inf, math.inf) for pair in bounds)
    return ReceptiveField(top, left, bottom, right, strides)


class UnitRecord:
    """What the units of a layer did, image after image; its memory does not grow with their number.

    Args:
        n_peaks: images to remember for each unit.

    Attributes:
        n_images: seen.
        mean: (C,) float64, of all activations of a unit.
        sparsity: (C,) float64, share of a unit's activations that are 0 or less.
    """

    def __init__(self, n_peaks: int) -> None:
        self.n_peaks, self.n_images, self._n_values = n_peaks, 0, 0
        self.mean = self.sparsity = self._squares = np.zeros(0)
        self._values = np.zeros((0, 0))
        self._places = np.zeros((0, 0, 3), np.int64)

    @property
    def std(self) -> Float64Array:
        """(C,) float64, standard deviation of all activations of a unit."""
        return np.sqrt(self._squares / max(self._n_values, 1))

    def add(self, maps: Tensor) -> None:
        """Look at the next image's maps, (C, h, w) float."""
        n_units, _, width = maps.shape
        if not self.n_images:
            self.mean, self.sparsity, self._squares = (np.zeros(n_units) for _ in range(3))
            self._values, self._places = np.zeros((n_units, 0)), np.zeros((n_units, 0, 3), np.int64)
        flat = maps.detach().flatten(1)
        self._count(flat.double())
        largest, index = flat.max(1)
        at = index.cpu().numpy()
        place = np.stack([np.full_like(at, self.n_images), at // width, at % width], axis=1)
        values = np.concatenate([self._values, largest.cpu().numpy()[:, None]], axis=1)
        places = np.concatenate([self._places, place[:, None]], axis=1)
        order = np.argsort(-values, axis=1, kind='stable')[:, : self.n_peaks]
        self._values = np.take_along_axis(values, order, 1)
        self._places = np.take_along_axis(places, order[..., None], 1)
        self.n_images += 1

    def peaks(self, unit: int) -> list[Peak]:
        """The images that moved a unit most, one peak each, the largest first."""
        pairs = zip(self._values[unit], self._places[unit], strict=True)
        return [Peak(float(value), *(int(k) for k in place)) for value, place in pairs]

    def _count(self, flat: Tensor) -> None:
        """Mean and squares of deviations grow as Chan, Golub and LeVeque (1979) add samples."""
        n_new, n_old = flat.shape[1], self._n_values
        mean = flat.mean(1)
        squares = (flat - mean[:, None]).square().sum(1).cpu().numpy()
        step = mean.cpu().numpy() - self.mean
        self._n_values = n_old + n_new
        share = n_new / self._n_values
        self._squares = self._squares + squares + step**2 * n_old * share
        self.mean = self.mean + step * share
        silent = (flat <= 0).double().mean(1).cpu().numpy()
        self.sparsity = self.sparsity + (silent - self.sparsity) * share


class Correlation:
    """Pearson's correlation of every unit of one layer with every unit of another, image after image."""

    def __init__(self) -> None:
        self._n_values = 0
        self._means = [np.zeros(0), np.zeros(0)]
        self._products: list[Float64Array] = []

    def add(self, one: Tensor, other: Tensor) -> None:
        """Look at two layers' maps of the next image, (C, h, w) and (D, h', w') float.

        Where their sizes differ the other's are interpolated.
        """
        if other.shape[1:] != one.shape[1:]:
            other = F.interpolate(other[None], one.shape[1:], mode='bilinear')[0]
        a, b = (maps.detach().flatten(1).double() for maps in (one, other))
        n_old, n_new = self._n_values, a.shape[1]
        means = [maps.mean(1) for maps in (a, b)]
        a, b = a - means[0][:, None], b - means[1][:, None]
        products = [(a @ b.T), a.square().sum(1), b.square().sum(1)]
        if not n_old:
            self._means = [np.zeros(len(maps)) for maps in (a, b)]
            self._products = [np.zeros(tuple(p.shape)) for p in products]
        steps = [new.cpu().numpy() - old for new, old in zip(means, self._means, strict=True)]
        self._n_values = n_old + n_new
        share = n_new / self._n_values
        shifts = [np.outer(*steps), steps[0] ** 2, steps[1] ** 2]
        for k, (new, shift) in enumerate(zip(products, shifts, strict=True)):
            self._products[k] = self._products[k] + new.cpu().numpy() + shift * n_old * share
        self._means = [old + step * share for old, step in zip(self._means, steps, strict=True)]

    def matrix(self) -> Float64Array:
        """(C, D) float64 in -1..1; 0 where a unit never changes."""
        both, one, other = self._products
        scale = np.sqrt(np.outer(one, other))
        return np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)


def match_units(correlation: Float64Array) -> list[int | None]:
    """Which unit of another network is which of this one.

    Layers of one size are the same units. Of a smaller one it is known that removing channels leaves their
    order, so the pairs are those in order whose correlations have the largest sum.

    Args:
        correlation: (C, D) of this network's units with the other's.

    Returns:
        For each of the C units its index in the other; None where it was removed.
    """
    n, m = correlation.shape
    if n == m:
        return list(range(n))
    matched: list[int | None] = [None] * n
    if n < m:
        for index, own in enumerate(match_units(correlation.T)):
            if own is not None:
                matched[own] = index
        return matched
    best = np.full((n + 1, m + 1), -np.inf)  # of the first i units with the other's first k
    best[:, 0] = 0
    for i in range(n):
        best[i + 1, 1:] = np.maximum(best[i, 1:], best[i, :-1] + correlation[i])
    k = m
    for i in reversed(range(n)):
        if k and best[i + 1, k] > best[i, k]:
            k -= 1
            matched[i] = k
    return matched


def reach(picture: Tensor, row: int, column: int, share: float = 0.8) -> int:
    """How far from a pixel a share of a projection's energy lies: what its unit makes use of.

    Args:
        picture: (H, W, 3) float, a projection.
        row: of the pixel in the middle.
        column: of the pixel in the middle.
        share: 0..1.

    Returns:
        Half the side of a square, in pixels.
    """
    energy = picture.double().square().sum(2).cpu().numpy()
    rows, columns = (np.abs(np.arange(n) - k) for n, k in zip(energy.shape, (row, column), strict=True))
    distance = np.maximum(rows[:, None], columns)
    within = np.bincount(distance.ravel(), energy.ravel()).cumsum()
    return int(np.searchsorted(within, share * within[-1]))


@dataclass
class Watched:
    """A layer of a network, and what its units do.

    Attributes:
        network: in evaluation mode.
        layer: name of a sub-module.
        size: (height, width) that images are stretched to.
        record: of its units.
        correlation: of the units of the first layer watched with its own.
    """

    network: ImageNetwork
    layer: str
    size: tuple[int, int]
    record: UnitRecord
    correlation: Correlation = field(default_factory=Correlation)

    def input_of(self, image: UInt8Array) -> Tensor:
        """(H, W, 3) uint8 RGB of any size as (height, width, 3) uint8 on the network's device."""
        resized = np.array(resize_image(image, *self.size))
        return torch.from_numpy(resized).to(self.network.scale.device)


def watch(layers: Sequence[Watched], images: Iterable[UInt8Array]) -> None:
    """Show images to all layers; nothing but the records grows.

    Args:
        layers: of one network, or of networks to compare with the first.
        images: (H, W, 3) uint8 RGB each.
    """
    for image in images:
        with torch.no_grad():
            maps = [layer_maps(w.network, w.layer, w.input_of(image)) for w in layers]
        for watched, found in zip(layers, maps, strict=True):
            watched.record.add(found)
            if watched is not layers[0]:
                watched.correlation.add(maps[0], found)


class _ReachedError(Exception):
    """The layer is done; there is no need to go on."""


class _Rectified(torch.autograd.Function):
    """The value of a rectifier, and a rule for the gradient that goes back through it."""

    @staticmethod
    def forward(ctx: Any, _x: Tensor, value: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.rule = rule
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.rule(gradients[0]), None, None


class _RectifierRule(TorchFunctionMode):
    """Within it, gradients go back through rectifiers by a rule, whether they are modules or functions."""

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
            value = func(x.clone(), *args[1:], **options)  # it may work in place
        return _Rectified.apply(x, value, self._rule)  # type: ignore[no-untyped-call]


def _walk_back(maps: Tensor, pixels: Tensor, kept: Tensor) -> Tensor:
    if not maps.requires_grad:
        raise UnavailableError(
            'this network cannot be walked back to its pixels: it computes in whole numbers; '
            'choose a model in fp32, fp16 or bf16'
        )
    (gradient,) = torch.autograd.grad(maps, pixels, kept, allow_unused=True)
    return torch.zeros_like(pixels) if gradient is None else gradient


def _first(output: object) -> Tensor | None:
    """The maps (B, C, h, w) among the results of a module."""
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.ndim == 4 else None


def _stride(length: int, n: int) -> int:
    """Pixels from one unit to the next: sizes are halved, after a padding that made them divide.

    A size may be rounded down as well, hence the tolerance.
    """
    return int(2 ** max(math.ceil(math.log2(length / n) - 0.1), 0))
