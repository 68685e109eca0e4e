"""Trace of a network: the operations of one forward pass, in order, with their tensors.

Dependencies of channels and costs are derived from a trace. The network runs on torch's meta device, which
computes shapes but no values. A trace therefore takes milliseconds for images of any size.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from seg_ros.errors import UnavailableError


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a function of PyTorch.

    Attributes:
        function: The function, one of ``torch.ops.aten``.
        args: Its positional arguments; tensors are on the meta device.
        kwargs: Its arguments by name.
        results: The tensors that it returned.
        module: Name of the innermost module that called it; '' = the network itself.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Tensor, ...]
    module: str

    @property
    def name(self) -> str:
        """Name of the function without its overload: 'convolution', 'cat', ..."""
        return str(self.function.overloadpacket.__name__)

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return list(tensors_of((self.args, self.kwargs)))

    @property
    def is_view(self) -> bool:
        """Whether its results lie in the memory of an argument, so that no byte is moved."""
        own = {memory_of(t) for t in self.inputs}
        return bool(self.results) and all(memory_of(t) in own for t in self.results)

    @property
    def n_macs(self) -> int:
        """Number of multiply-accumulate operations; 0 for all but convolutions and matrix products."""
        if self.name == 'convolution':
            x, weight = self.args[:2]
            places = x if self.args[6] else self.results[0]
            return places.shape[0] * math.prod(places.shape[2:]) * int(weight.numel())
        if self.name in ('mm', 'bmm', 'addmm', 'baddbmm'):
            first, second = self.inputs[-2:]
            return int(first.numel()) * int(second.shape[-1])
        return 0


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: Name of the module.
        inputs: The tensors among its arguments.
        outputs: The tensors among its results.
        n_before: Number of operations of the whole network that had run when it returned.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    n_before: int


@dataclass(eq=False)
class NetworkTrace:
    """Record of one forward pass.

    Attributes:
        network: The copy on the meta device that ran.
        names: ``id()`` of a parameter or buffer of that copy -> its name.
        inputs: Tensors that the network was called with.
        operations: Operations, in order.
        calls: Calls of modules, in the order of their return.
        outputs: Tensors that the network returned.
    """

    network: nn.Module
    names: dict[int, str]
    inputs: tuple[Tensor, ...]
    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: tuple[Tensor, ...] = ()

    def macs_per_value(self) -> dict[str, int]:
        """Name of each weight of a convolution -> number of uses of each of its values in the pass."""
        found: dict[str, int] = {}
        for operation in self.operations:
            if operation.name == 'convolution' and id(operation.args[1]) in self.names:
                name = self.names[id(operation.args[1])]
                found[name] = found.get(name, 0) + operation.n_macs // operation.args[1].numel()
        return found


def on_meta(network: nn.Module) -> nn.Module:
    """A copy of a network on the meta device: its parameters and buffers have shapes but no values."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device='meta'), requires_grad=parameter.requires_grad
        )
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device='meta')
    return copy.deepcopy(network, memo)


def trace_network(network: nn.Module, example: Tensor) -> NetworkTrace:
    """Run a copy of a network in evaluation mode on the meta device and record its operations.

    Args:
        network: The network; it is not changed.
        example: An input; only its shape and dtype matter.

    Raises:
        UnavailableError: The network needs values to choose its operations, or shapes or dtypes do not fit.
    """
    shadow = on_meta(network).eval()
    x = torch.empty_like(example, device='meta')
    names = {id(t): name for name, t in (*shadow.named_parameters(), *shadow.named_buffers())}
    trace = NetworkTrace(shadow, names, (x,))
    try:
        with torch.no_grad(), _Recorder(shadow, trace):
            trace.outputs = tuple(tensors_of(shadow(x)))
    except (RuntimeError, ValueError, TypeError, IndexError) as err:
        raise UnavailableError(
            f'{type(network).__name__} cannot be traced for an input of shape {tuple(example.shape)}: {err}'
        ) from err
    return trace


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_of(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_of(part)


def memory_of(tensor: Tensor) -> int:
    """Identity of the memory of a tensor, which its views share."""
    return int(tensor.untyped_storage()._cdata)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations, and through hooks the modules that call them."""

    def __init__(self, network: nn.Module, trace: NetworkTrace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace = trace
        self._stack = ['']
        for name, module in network.named_modules():
            if name:
                module.register_forward_pre_hook(lambda _m, _x, name=name: self._stack.append(name))
                module.register_forward_hook(self._on_return)

    def _on_return(self, _module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._trace.calls.append(
            Call(
                self._stack.pop(),
                tuple(tensors_of(inputs)),
                tuple(tensors_of(outputs)),
                len(self._trace.operations),
            )
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        results = tuple(tensors_of(result))
        if 'batch_norm' in func.overloadpacket.__name__:
            results = results[:1]  # without the statistics of a batch, which real devices do not return
        self._trace.operations.append(Operation(func, args, kwargs or {}, results, self._stack[-1]))
        return result
