"""Which operations a network runs, on which tensors, in which order: what channels and costs are read from.

The network is run once on torch's meta device, which computes shapes and no values, so that tracing costs
milliseconds whatever the size of the images.
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
        function: the function, one of ``torch.ops.aten``.
        args: its positional arguments; tensors are on the meta device.
        kwargs: its arguments by name.
        results: the tensors that it returned.
        module: name of the innermost module that it ran in, '' for the network itself.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Tensor, ...]
    module: str

    @property
    def name(self) -> str:
        """The function's, without its overload: 'convolution', 'cat', ..."""
        return str(self.function.overloadpacket.__name__)

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among its arguments."""
        return list(tensors_of((self.args, self.kwargs)))

    @property
    def is_view(self) -> bool:
        """Whether it moves no byte: its results lie in the memory of an argument."""
        own = {_memory(t) for t in self.inputs}
        return bool(self.results) and all(_memory(t) in own for t in self.results)

    @property
    def n_macs(self) -> int:
        """Multiplications that are followed by an addition: those of convolutions and matrix products."""
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
        name: of the module.
        inputs: the tensors that it got.
        outputs: the tensors that it gave.
        n_before: operations of the whole network that had run when it returned.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    n_before: int


@dataclass(eq=False)
class NetworkTrace:
    """What happened in one forward pass.

    Attributes:
        network: the copy that ran.
        names: id of a parameter or buffer of that copy -> its name.
        operations: in order.
        calls: of modules, in the order of their return.
        inputs: of the network.
        outputs: of the network.
    """

    network: nn.Module
    names: dict[int, str]
    inputs: tuple[Tensor, ...]
    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: tuple[Tensor, ...] = ()

    def macs_per_value(self) -> dict[str, int]:
        """Name of each weight of a convolution -> how often one forward pass uses each of its values."""
        found: dict[str, int] = {}
        for operation in self.operations:
            if operation.name == 'convolution' and id(operation.args[1]) in self.names:
                name = self.names[id(operation.args[1])]
                found[name] = found.get(name, 0) + operation.n_macs // operation.args[1].numel()
        return found


def on_meta(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes and no values."""
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(
            torch.empty_like(parameter, device='meta'), requires_grad=parameter.requires_grad
        )
    for buffer in network.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device='meta')
    return copy.deepcopy(network, memo)


def record(network: nn.Module, example: Tensor) -> NetworkTrace:
    """Run a network in evaluation mode, without values, and write down what it does.

    Args:
        network: stays as it is.
        example: an input; only its shape and type count.

    Raises:
        UnavailableError: the network needs values to decide what to do, or its shapes do not fit.
    """
    shadow = on_meta(network).eval()
    x = torch.empty_like(example, device='meta')
    names = {id(t): name for name, t in (*shadow.named_parameters(), *shadow.named_buffers())}
    recording = NetworkTrace(shadow, names, (x,))
    try:
        with torch.no_grad(), _Recorder(shadow, recording):
            recording.outputs = tuple(tensors_of(shadow(x)))
    except (RuntimeError, ValueError, TypeError, IndexError) as err:
        raise UnavailableError(
            f'{type(network).__name__} cannot be followed for an input of shape {tuple(example.shape)}: {err}'
        ) from err
    return recording


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_of(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_of(part)


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down operations, and by hooks the modules that they run in."""

    def __init__(self, network: nn.Module, recording: NetworkTrace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recording = recording
        self._stack = ['']
        for name, module in network.named_modules():
            if name:
                module.register_forward_pre_hook(lambda _m, _x, name=name: self._stack.append(name))
                module.register_forward_hook(self._left)

    def _left(self, _module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._recording.calls.append(
            Call(
                self._stack.pop(),
                tuple(tensors_of(inputs)),
                tuple(tensors_of(outputs)),
                len(self._recording.operations),
            )
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        results = tuple(tensors_of(result))
        if 'batch_norm' in func.overloadpacket.__name__:
            results = results[:1]  # the others are a batch's statistics, which real devices leave out
        self._recording.operations.append(Operation(func, args, kwargs or {}, results, self._stack[-1]))
        return result
