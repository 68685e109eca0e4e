"""Weight sharing (few values per layer) and rounding of weights to few steps.

S. Han, H. Mao, W. J. Dally, "Deep compression: compressing deep neural networks with pruning, trained
quantization and Huffman coding", ICLR 2016: section 3.1 gives the clustering, 3.2 the initialisations, 3.3
the gradient of a centroid, which is the sum of the gradients of its weights (equation 3).

Deliberate differences:

- Pruned weights are not left out. They share the value 0, which stays 0 in training.
- A layer with few enough different values keeps them unchanged.
- Depthwise convolutions always keep 8 bits. They have few weights, and each has a large effect.
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
"""Minimum number of bits of a weight of a depthwise convolution; docs/performance.md has the reasons."""

_N_ITERATIONS = 300
_CLIPPING_STEPS = 40


@dataclass(frozen=True)
class Shared:
    """A weight with few different values.

    Attributes:
        codebook: (2**n_bits,) float32 centroids in ascending order, after a 0 if weights were pruned. Unused
            centroids may occur.
        indices: uint8 of the shape of the weight: the assignment of each value to a centroid.
    """

    codebook: Tensor
    indices: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight, float32 of the shape of ``indices``."""
        return self.codebook[self.indices.long()]


def _linear(values: Float64Array, n: int, _rng: np.random.Generator) -> Float64Array:
    """Evenly spaced between minimum and maximum, so that the rare large weights keep centroids."""
    return np.linspace(values[0], values[-1], n)


def _density(values: Float64Array, n: int, _rng: np.random.Generator) -> Float64Array:
    """With equally many weights between any two."""
    return values[((np.arange(n) + 0.5) * values.size / n).astype(np.int64)]


def _random(values: Float64Array, n: int, rng: np.random.Generator) -> Float64Array:
    """Drawn at random from the weights."""
    return np.sort(rng.choice(values, n, replace=False))


INITIALISATIONS: dict[str, Callable[[Float64Array, int, np.random.Generator], Float64Array]] = {
    'linear': _linear,
    'density': _density,
    'random': _random,
}
"""Initial centroids of k-means for sorted weights; in the paper, linear is the most accurate."""


def share(
    weight: Tensor,
    n_bits: int,
    *,
    initialisation: str = 'linear',
    keeps_zeros: bool = True,
    seed: int = 0,
) -> Shared:
    """Assign each value of a weight to one of ``2**n_bits`` centroids with (locally) least squared error.

    Args:
        weight: Weight, float of any shape.
        n_bits: Number of bits of an index, 1..8.
        initialisation: Name in :data:`INITIALISATIONS`, for k-means.
        keeps_zeros: Whether values that are 0 stay 0. If there are any, 0 takes one of the centroids.
        seed: Seed of the random initialisation.

    Raises:
        ParameterError: ``n_bits`` is out of range, or the weight is empty or not finite.
        UnknownNameError: The initialisation is unknown.
    """
    if not 1 <= n_bits <= 8:
        raise ParameterError(f'n_bits is {n_bits}; expected 1..8')
    if initialisation not in INITIALISATIONS:
        raise UnknownNameError('initialisation', initialisation, list(INITIALISATIONS))
    weight = weight.detach().float().cpu()
    if not weight.numel() or not weight.isfinite().all():
        raise ParameterError(
            f'weight of shape {tuple(weight.shape)} is empty or not finite; expected finite values'
        )
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
    """k-means of sorted numbers, where each cluster is a range; returns (k,) sorted centroids.

    A centroid with an empty cluster does not move.
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
    """Parametrisation of a weight by its centroids, which any optimizer can train.

    Attributes:
        indices: uint8 of the shape of the weight: the assignment to centroids.
        is_free: (k,) float, 0.0 for the value of pruned weights, which stays 0 in training, else 1.0.
    """

    indices: Tensor
    is_free: Tensor

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self.register_buffer('indices', shared.indices)
        self.register_buffer('is_free', (shared.codebook != 0).to(shared.codebook))

    def forward(self, centroids: Tensor) -> Tensor:
        """(k,) centroids to the weight; equation 3 is the gradient of this function."""
        values = centroids * self.is_free
        return values.index_select(0, self.indices.flatten().int()).view(self.indices.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight to (k,) centroids: means of their clusters, 0 for empty clusters."""
        indices, n_centroids = self.indices.flatten().int(), len(self.is_free)
        sums = torch.bincount(indices, weight.detach().double().flatten(), n_centroids)
        return (sums / torch.bincount(indices, minlength=n_centroids).clamp(min=1)).to(weight.dtype)


def weighted_layers(network: nn.Module) -> Iterator[tuple[str, WeightedLayer]]:
    """Names and modules of all convolutions and linear layers."""
    for name, module in network.named_modules():
        if isinstance(module, WeightedLayer):
            yield name, module


def output_axis(layer: WeightedLayer) -> int:
    """Axis of the output channels in the weight of a layer."""
    return int(isinstance(layer, nn.ConvTranspose2d))


def bits_of(layer: WeightedLayer, n_bits: int) -> int:
    """Number of bits of a layer's weights in a network of ``n_bits``; more for depthwise layers."""
    is_depthwise = not isinstance(layer, nn.Linear) and layer.groups == layer.in_channels > 1
    return max(n_bits, DEPTHWISE_BITS) if is_depthwise else n_bits


def share_network(
    network: nn.Module, n_bits: int, *, initialisation: str = 'linear', seed: int = 0
) -> nn.Module:
    """Share the weights of all convolutions and linear layers; their centroids become the parameters.

    Args:
        network: The network, changed in place and returned. Make an optimizer after this.
        n_bits: Number of bits of an index, 1..8. Depthwise convolutions have at least :data:`DEPTHWISE_BITS`.
        initialisation: Name in :data:`INITIALISATIONS`.
        seed: Seed of the random initialisation.

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
    """Make shared weights plain parameters again, with their present values.

    Args:
        network: The network, changed in place and returned; other weights stay unchanged.
        codebook_dtype: Dtype that centroids are rounded to. A 16-bit codebook takes half the space in a file.
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
    """Round each output channel symmetrically to whole steps.

    Args:
        weight: Weight with one axis or more, finite float.
        n_bits: Number of bits of a step, 2..8. Steps are in ``-(2**(n_bits - 1) - 1)..2**(n_bits - 1) - 1``,
            which is -127..127 for 8 bits and -7..7 for 4.
        axis: Axis of the output channels: 0 for Conv2d and Linear, 1 for ConvTranspose2d.
        clipping: 'absmax' = the largest weight is the last step; 'mse' = clip for the least squared error,
            which helps with 4 bits.

    Returns:
        Steps, int8 of the shape of ``weight``, and the scale of each channel, (C,) float32 above 0. Scales
        are rounded up to bfloat16, so that two bytes hold one.

    Raises:
        ParameterError: An argument is out of range, or a value of the weight is not finite.
        UnknownNameError: The clipping is unknown.
    """
    if not 2 <= n_bits <= 8:
        raise ParameterError(f'n_bits is {n_bits}; expected 2..8')
    if clipping not in ('absmax', 'mse'):
        raise UnknownNameError('clipping', clipping, ['absmax', 'mse'])
    weight = weight.detach().float()
    if not weight.numel() or not -weight.ndim <= axis < weight.ndim or not weight.isfinite().all():
        raise ParameterError(
            f'weight of shape {tuple(weight.shape)} is empty, lacks axis {axis}, or is not finite'
        )
    rows = weight.movedim(axis, 0).reshape(weight.shape[axis], -1)
    last = 2 ** (n_bits - 1) - 1
    largest = rows.abs().amax(1)
    scale = _rounded_up(largest / last)
    if clipping == 'mse':
        scale = _least_error(rows, largest, last, scale)
    # Channels of zeros, or so small that their scale underflows.
    scale = torch.where(scale > 0, scale, 1.0)
    return to_steps(weight, scale, n_bits, axis), scale


def to_steps(weight: Tensor, scale: Tensor, n_bits: int, axis: int) -> Tensor:
    """Nearest steps of a weight, int8, for given scales (C,); see :func:`round_weights`."""
    last = 2 ** (n_bits - 1) - 1
    return (weight.float() / along(scale, weight.ndim, axis)).round().clamp(-last, last).to(torch.int8)


def along(scale: Tensor, n_axes: int, axis: int) -> Tensor:
    """A view of (C,) that broadcasts along ``axis`` of a tensor with ``n_axes``."""
    return scale.reshape([-1 if k == axis % n_axes else 1 for k in range(n_axes)])


def _rounded_up(values: Tensor) -> Tensor:
    """Round float32 values, 0 or more, up to the next bfloat16 value."""
    return ((values.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)


def _least_error(rows: Tensor, largest: Tensor, last: int, scale: Tensor) -> Tensor:
    """(C,) scale with the least squared error, among clipping at 0.3..1 of the largest value of each row."""
    best = torch.full_like(scale, torch.inf)
    for fraction in torch.linspace(1, 0.3, _CLIPPING_STEPS):
        tried = _rounded_up(largest * fraction / last)
        safe = torch.where(tried > 0, tried, 1.0)[:, None]
        error = ((rows / safe).round().clamp(-last, last) * safe - rows).square().sum(1)
        scale = torch.where(error < best, tried, scale)
        best = torch.minimum(error, best)
    return scale
