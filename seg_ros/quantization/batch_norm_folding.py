"""Batch normalisation in its canonical form: one scale and one shift per channel.

In evaluation mode, a normalisation has four values per channel (mean, variance, weight, bias). Two are
enough, and one if a convolution takes the scale. Symmetric rounding by output channel gives the same steps
before and after that folding. Weights that share values must keep their scales separate.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from seg_ros.errors import ParameterError

Convolution = nn.Conv2d | nn.ConvTranspose2d


def canonical_batch_norms(network: nn.Module, pairs: Iterable[tuple[str, str]] = ()) -> nn.Module:
    """Rewrite every BatchNorm2d to mean 0, variance 1 - eps, weight = scale, bias = shift.

    In evaluation mode the network computes the same up to rounding. It cannot be trained further with
    statistics of batches.

    Args:
        network: The network, changed in place and returned.
        pairs: Names of convolutions and of the normalisation that alone reads each, from :func:`find_pairs`.
            These convolutions take the scale; the weight of the normalisation becomes 1.

    Raises:
        ParameterError: A pair is not a convolution without bias and a normalisation of its channels.
    """
    modules = dict(network.named_modules())
    for module in modules.values():
        if isinstance(module, nn.BatchNorm2d):
            _canonical(module)
    for convolution, norm in pairs:
        one, other = modules.get(convolution), modules.get(norm)
        if not isinstance(one, Convolution) or not isinstance(other, nn.BatchNorm2d) or not _fit(one, other):
            raise ParameterError(
                f"'{convolution}' and '{norm}' cannot be folded; expected a convolution without bias and the "
                'BatchNorm2d after it'
            )
        _fold(one, other)
    return network


def find_pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions without bias and of the normalisation that alone reads each.

    Hooks that read the result of a convolution are not detected.

    Args:
        network: Network in evaluation mode.
        example: (B, C, H, W) float input of any size that the network accepts.
    """
    names = {module: name for name, module in network.named_modules()}
    norms_of: dict[int, list[nn.BatchNorm2d]] = {}
    results: list[tuple[nn.Module, Tensor]] = []
    calls: Counter[nn.Module] = Counter()
    reads = _Reads()

    def after_convolution(module: nn.Module, _inputs: Any, result: Tensor) -> None:
        calls[module] += 1
        results.append((module, result))  # kept alive, so that no other tensor gets its id
        norms_of[id(result)] = []
        reads.counts[id(result)] = 0

    def before_norm(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        norms_of.get(id(inputs[0]), []).append(module)  # type: ignore[arg-type]

    hooks = [
        *(m.register_forward_hook(after_convolution) for m in names if isinstance(m, Convolution)),
        *(m.register_forward_pre_hook(before_norm) for m in names if isinstance(m, nn.BatchNorm2d)),
    ]
    try:
        with torch.no_grad(), reads:
            outputs = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    reads.count(outputs)
    return [
        (names[module], names[norm])
        for module, result in results
        for norm in norms_of[id(result)]
        if reads.counts[id(result)] == 1
        and calls[module] == calls[norm] == 1
        and isinstance(module, Convolution)
        and _fit(module, norm)
    ]


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that read a tensor, by the ``id()`` of the tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[int] = Counter()

    def count(self, value: Any) -> None:
        """Count a read of all tensors in nested lists, tuples and dictionaries."""
        if isinstance(value, Tensor):
            self.counts[id(value)] += 1
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.count(item)
        elif isinstance(value, dict):
            self.count(list(value.values()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count([args, kwargs])
        return func(*args, **(kwargs or {}))


def _fit(convolution: Convolution, norm: nn.BatchNorm2d) -> bool:
    """Whether the convolution can take the scale of the normalisation."""
    return (
        convolution.bias is None
        and convolution.out_channels == norm.num_features
        and norm.affine
        and not parametrize.is_parametrized(convolution)
    )


@torch.no_grad()
def _canonical(norm: nn.BatchNorm2d) -> None:
    """Rewrite one normalisation; those without statistics or without weights stay."""
    if norm.running_mean is None or norm.running_var is None or not norm.affine:
        return
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    norm.weight.copy_(scale)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


@torch.no_grad()
def _fold(convolution: Convolution, norm: nn.BatchNorm2d) -> None:
    """Move the weight of a canonical normalisation into the convolution before it."""
    weight, scale = convolution.weight, norm.weight.double()
    if isinstance(convolution, nn.ConvTranspose2d):
        by_group = weight.view(convolution.groups, -1, *weight.shape[1:])
        weight.copy_((by_group * scale.reshape(convolution.groups, 1, -1, 1, 1)).flatten(0, 1))
    else:
        weight.copy_(weight * scale.reshape(-1, 1, 1, 1))
    norm.weight.fill_(1)
