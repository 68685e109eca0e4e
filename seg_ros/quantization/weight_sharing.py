"""Weights that share few values, and weights rounded to few steps.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016: section 3.1 gives the clustering, 3.2 the initialisations, 3.3
the gradient of a centroid, which is the sum of those of its weights (equation 3).

Deliberate differences: pruned weights keep a value of their own, which is 0 and stays so in training, instead
of being left out; a layer with few enough different values keeps these as they are; depthwise convolutions,
which have few weights, of which each decides much, keep 8 bits whatever the others have.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seg_ros.arrays import Float64Array
from seg_ros.errors import ParameterError, UnknownNameError

WeightedLayer = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
"""Layers whose weights are shared or rounded."""

DEPTHWISE_BITS = 8
"""Bits, at least, of a weight of a depthwise convolution: see docs/performance.md for what fewer cost."""

_N_ITERATIONS = 300
_CLIPPING_STEPS = 40


@dataclass(frozen=True)
class Shared:
    """A weight that takes few values.

    Attributes:
        codebook: (2**n_bits,) float32, the centroids, rising; 0 in front of them where weights were pruned.
            Those that no weight uses are at the end or between others.
        indices: uint8, the shape of the weight, its assignment to a centroid.
    """

    codebook: Tensor
    indices: Tensor

    @property
    def weight(self) -> Tensor:
        """float32, the shape of ``indices``."""
        return self.codebook[self.indices.long()]


def _linear(values: Float64Array, n: int, _rng: np.random.Generator) -> Float64Array:
    """At even distances between least and largest, so that the rare large weights keep centroids."""
    return np.linspace(values[0], values[-1], n)


def _density(values: Float64Array, n: int, _rng: np.random.Generator) -> Float64Array:
    """With as many weights between any two."""
    return values[((np.arange(n) + 0.5) * values.size / n).astype(np.int64)]


def _random(values: Float64Array, n: int, rng: np.random.Generator) -> Float64Array:
    """Drawn from the weights."""
    return np.sort(rng.choice(values, n, replace=False))


INITIALISATIONS: dict[str, Callable[[Float64Array, int, np.random.Generator], Float64Array]] = {
    'linear': _linear,
    'density': _density,
    'random': _random,
}
"""First centroids of sorted weights; in the paper, linear is the most accurate."""


def share(
    weight: Tensor,
    n_bits: int,
    *,
    initialisation: str = 'linear',
    keeps_zeros: bool = True,
    seed: int = 0,
) -> Shared:
    """Assign each weight to one of ``2**n_bits`` values, such that the squared error is (locally) least.

    Args:
        weight: float, any shape.
        n_bits: 1..8.
        initialisation: of k-means, a name in :data:`INITIALISATIONS`.
        keeps_zeros: weights that are 0 remain so; that takes one of the values where there are any.
        seed: of the random initialisation.

    Raises:
        ParameterError: ``n_bits`` is out of range, or the weight is empty or not finite.
        UnknownNameError: there is no such initialisation.
    """
    if not 1 <= n_bits <= 8:
        raise ParameterError(f'n_bits is {n_bits}; expected 1..8')
    if initialisation not in INITIALISATIONS:
        raise UnknownNameError('initialisation', initialisation, list(INITIALISATIONS))
    weight = weight.detach().float().cpu()
    if not weight.numel() or not weight.isfinite().all():
        raise ParameterError(f'weight {tuple(weight.shape)} is empty or not finite; nothing to share')
    flat = weight.double().numpy().ravel()
    has_zero = keeps_zeros and bool((flat == 0).any())
    n_centroids = 2**n_bits - has_zero
    values = np.sort(flat[flat != 0] if has_zero else flat)
    centroids = np.unique(values)
    if centroids.size > n_centroids:
        start = INITIALISATIONS[initialisation](values, n_centroids, np.random.default_rng(seed))
        centroids = np.unique(_lloyd(values, start).astype(np.float32)).astype(np.float64)
    indices = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, flat)
    if has_zero:
        indices = np.where(flat == 0, 0, indices + 1)
        centroids = np.concatenate([[0.0], centroids])
    codebook = np.pad(centroids, (0, 2**n_bits - centroids.size), mode='edge').astype(np.float32)
    return Shared(
        torch.from_numpy(codebook), torch.from_numpy(indices.astype(np.uint8)).reshape(weight.shape)
    )


def _lloyd(values: Float64Array, centroids: Float64Array) -> Float64Array:
    """k-means of sorted numbers, where a cluster is a range: (k,) sorted centroids.

    A centroid that no number is nearest to stays where it is.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(_N_ITERATIONS):
        edges = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2)
        edges = np.concatenate([[0], edges, [values.size]])
        counts = np.diff(edges)
        means = np.where(counts, np.diff(sums[edges]) / np.maximum(counts, 1), centroids)
        if np.array_equal(means, centroids):
            break
        centroids = means
    return centroids


class SharedWeight(nn.Module):
    """Parametrisation of a weight whose parameter is the centroids, trained by any optimizer.

    Attributes:
        indices: uint8, the shape of the weight.
        is_free: (k,) 0.0 for the value of pruned weights, which training leaves at 0; else 1.0.
    """

    indices: Tensor
    is_free: Tensor

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.register_buffer('indices', shared.indices)
        self.register_buffer('is_free', (shared.codebook != 0).to(shared.codebook))

    def forward(self, centroids: Tensor) -> Tensor:
        """The weight; equation 3 is the gradient of this."""
        values = centroids * self.is_free
        return values.index_select(0, self.indices.flatten().int()).view(self.indices.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """(k,) the centroids for a given weight: means over their clusters, 0 where these are empty."""
        indices, n_centroids = self.indices.flatten().int(), len(self.is_free)
        sums = torch.bincount(indices, weight.detach().double().flatten(), n_centroids)
        return (sums / torch.bincount(indices, minlength=n_centroids).clamp(min=1)).to(weight.dtype)


def weighted_layers(network: nn.Module) -> Iterator[tuple[str, WeightedLayer]]:
    """Names and modules of all convolutions and linear layers."""
    for name, module in network.named_modules():
        if isinstance(module, WeightedLayer):
            yield name, module


def output_axis(layer: WeightedLayer) -> int:
    """The axis of a layer's weight that its output channels lie on."""
    return int(isinstance(layer, nn.ConvTranspose2d))


def bits_of(layer: WeightedLayer, n_bits: int) -> int:
    """Bits of a weight of a layer, in a network whose weights have ``n_bits``: more in depthwise layers."""
    is_depthwise = not isinstance(layer, nn.Linear) and layer.groups == layer.in_channels > 1
    return max(n_bits, DEPTHWISE_BITS) if is_depthwise else n_bits


def share_network(
    network: nn.Module, n_bits: int, *, initialisation: str = 'linear', seed: int = 0
) -> nn.Module:
    """Make the weights of all convolutions and linear layers share values; their centroids become parameters.

    Args:
        network: changed in place, and returned. Make an optimizer after this.
        n_bits: of an index, 1..8; bits of a weight. Depthwise convolutions have :data:`DEPTHWISE_BITS`.
        initialisation: a name in :data:`INITIALISATIONS`.
        seed: of the random initialisation.

    Raises:
        ParameterError: ``n_bits`` is out of range, or a weight is parametrised already.
    """
    layers = list(weighted_layers(network))
    taken = [name for name, module in layers if parametrize.is_parametrized(module, 'weight')]
    if taken:
        raise ParameterError(f'the weight of {taken[0]} is parametrised already; unshare the network first')
    for _, module in layers:
        shared = share(module.weight, bits_of(module, n_bits), initialisation=initialisation, seed=seed)
        parametrize.register_parametrization(module, 'weight', SharedWeight(shared))
    return network


def unshare(network: nn.Module, codebook_dtype: torch.dtype = torch.float32) -> nn.Module:
    """Make the weights parameters again, with the values that they share now.

    Args:
        network: changed in place, and returned; what is not shared stays.
        codebook_dtype: centroids are rounded to this; in a file, a 16-bit one takes half the space.
    """
    for _, module in weighted_layers(network):
        if not parametrize.is_parametrized(module, 'weight'):
            continue
        parametrization = cast(parametrize.ParametrizationList, cast(Any, module.parametrizations).weight)
        if isinstance(parametrization[0], SharedWeight):
            with torch.no_grad():
                parametrization.original.copy_(parametrization.original.to(codebook_dtype))
            parametrize.remove_parametrizations(module, 'weight', leave_parametrized=True)
    return network


def round_weights(
    weight: Tensor, n_bits: int, *, axis: int = 0, clipping: str = 'absmax'
) -> tuple[Tensor, Tensor]:
    """Symmetric rounding of each output channel to whole steps.

    Args:
        weight: float, one axis or more, finite.
        n_bits: 2..8; steps are in ``-(2**(n_bits - 1) - 1)..2**(n_bits - 1) - 1``, so -127..127 or -7..7.
        axis: of output channels: 0 for Conv2d and Linear, 1 for ConvTranspose2d.
        clipping: 'absmax' lets the largest weight be the last step; 'mse' clips at what gives the least
            squared error, which for 4 bits is lower.

    Returns:
        int8 steps, the shape of ``weight``; (C,) float32 scale of each channel, above 0. Scales have 8
        significant bits (they are rounded up to bfloat16), so that two bytes hold one.

    Raises:
        ParameterError: an argument is out of range, or a weight not finite.
    """
    if not 2 <= n_bits <= 8:
        raise ParameterError(f'n_bits is {n_bits}; expected 2..8')
    if clipping not in ('absmax', 'mse'):
        raise UnknownNameError('clipping', clipping, ['absmax', 'mse'])
    weight = weight.detach().float()
    if not weight.numel() or not -weight.ndim <= axis < weight.ndim or not weight.isfinite().all():
        raise ParameterError(f'weight {tuple(weight.shape)} is empty, has no axis {axis}, or is not finite')
    rows = weight.movedim(axis, 0).reshape(weight.shape[axis], -1)
    last = 2 ** (n_bits - 1) - 1
    largest = rows.abs().amax(1)
    scale = _rounded_up(largest / last)
    if clipping == 'mse':
        scale = _least_error(rows, largest, last, scale)
    # A channel of zeros, or one so small that its scale is none.
    scale = torch.where(scale > 0, scale, 1.0)
    return to_steps(weight, scale, n_bits, axis), scale


def to_steps(weight: Tensor, scale: Tensor, n_bits: int, axis: int) -> Tensor:
    """int8 nearest steps of a weight for given scales (C,); see :func:`round_weights`."""
    last = 2 ** (n_bits - 1) - 1
    return (weight.float() / along(scale, weight.ndim, axis)).round().clamp(-last, last).to(torch.int8)


def along(scale: Tensor, n_axes: int, axis: int) -> Tensor:
    """A view of (C,) that multiplies ``axis`` of a tensor with ``n_axes``."""
    return scale.reshape([-1 if k == axis % n_axes else 1 for k in range(n_axes)])


def _rounded_up(values: Tensor) -> Tensor:
    """float32 of 0 or more, each to the next bfloat16 that is not below it."""
    return ((values.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)


def _least_error(rows: Tensor, largest: Tensor, last: int, scale: Tensor) -> Tensor:
    """(C,) the scale of least squared error among those that clip each row at 0.3..1 of its largest value."""
    best = torch.full_like(scale, torch.inf)
    for part in torch.linspace(1, 0.3, _CLIPPING_STEPS):
        tried = _rounded_up(largest * part / last)
        safe = torch.where(tried > 0, tried, 1.0)[:, None]
        error = ((rows / safe).round().clamp(-last, last) * safe - rows).square().sum(1)
        scale = torch.where(error < best, tried, scale)
        best = torch.minimum(error, best)
    return scale
