"""Statistics of batch normalisations, computed anew over many images.

While a network learns, its statistics are running averages that lag behind the weights, and averaged weights
(:mod:`seg_ros.training.ema`) have never seen an image. After pruning, maps differ from those that the
statistics were measured on. The authors of SegNet therefore compute the statistics over the training set
before a network is tested (A. Kendall, V. Badrinarayanan, R. Cipolla, "Bayesian SegNet", arXiv 1511.02680,
and the script beside their published weights).

Deliberate difference: that script takes the mean of the variances of the batches. Here the variance of all
values together counts, which contains the differences between batches.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_statistics(network: nn.Module) -> bool:
    """Whether a network has batch normalisations with statistics."""
    return any(True for _ in _normalisations(network))


@torch.no_grad()
def recompute_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Compute mean and variance of each batch normalisation over all values of all batches, in place.

    The normalisations use the statistics of each batch meanwhile, as in training; everything else is in
    evaluation mode. So all of them are measured in one pass over the images.

    Args:
        network: Network to measure; afterwards each module has its own mode again.
        batches: Inputs of the network, of the size that it is used on. Without any, nothing changes.
    """
    moments = {module: _Moments(module) for module in _normalisations(network)}
    handles = [module.register_forward_pre_hook(moments[module].add) for module in moments]
    with _only_training(network, set(moments)):
        for batch in batches:
            network(batch)
    for handle in handles:
        handle.remove()
    for found in moments.values():
        found.store()


class _Moments:
    """Sums over the values that a batch normalisation sees.

    Args:
        module: The normalisation.
    """

    def __init__(self, module: _BatchNorm) -> None:
        self._module = module
        self._before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        self._n_values = 0
        self._sum = self._square = torch.zeros(module.num_features, dtype=torch.float64)

    def add(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Add the values of a batch, (B, C, ...) float, one channel at a time."""
        values = inputs[0].detach().movedim(1, 0).flatten(1).double()
        self._n_values += values.shape[1]
        self._sum = self._sum + values.sum(1).cpu()
        self._square = self._square + values.square().sum(1).cpu()

    def store(self) -> None:
        """Write mean and unbiased variance to the module, or its statistics of before if it saw no value."""
        for name, buffer in self._module.named_buffers():
            buffer.copy_(self._before[name])
        if self._n_values < 2 or self._module.running_mean is None or self._module.running_var is None:
            return
        mean = self._sum / self._n_values
        variance = (self._square / self._n_values - mean.square()).clamp(min=0)
        self._module.running_mean.copy_(mean)
        self._module.running_var.copy_(variance * (self._n_values / (self._n_values - 1)))


def _normalisations(network: nn.Module) -> Iterator[_BatchNorm]:
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield module


@contextmanager
def _only_training(network: nn.Module, chosen: set[_BatchNorm]) -> Iterator[None]:
    """Put some modules into training mode and all others into evaluation mode within the context."""
    modes = {module: module.training for module in network.modules()}
    for module in modes:
        module.training = module in chosen
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
