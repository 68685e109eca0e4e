"""Bounds on the network that a model file describes, checked before anything large exists.

The arguments of an architecture come from the file. A network of a billion weights, or of a hundred thousand
layers, takes few bytes to ask for. Networks are built on the meta device, where tensors have no memory, and
the building stops at the first tensor that is too many.
"""

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seg_ros import schema
from seg_ros.errors import ModelFileError

N_TENSORS_LIMIT = 5000
"""Maximum number of tensors that are made while a network is built; ENet has 600."""

N_VALUES_LIMIT = 2**28
"""Maximum number of values of a network; FCN with VGG-16 has half of it."""

ARGUMENT_LIMIT = 4096
"""Maximum magnitude of a number among the arguments of an architecture."""

N_ARGUMENTS_LIMIT = 32

_FILLERS = (nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.constant_)
_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.tensor)


@contextmanager
def bounded_building() -> Iterator[None]:
    """Build networks on the meta device, within the bounds of this module.

    Raises:
        ModelFileError: The network has too many tensors or values.
    """
    with torch.device('meta'), _Count():
        yield


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of an architecture that are too many, too large or not plain values.

    Raises:
        ModelFileError: An argument is refused.
    """
    if len(arguments) > N_ARGUMENTS_LIMIT:
        raise ModelFileError(f'arguments has {len(arguments)} entries; expected {N_ARGUMENTS_LIMIT} at most')
    for name, value in arguments.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) > N_ARGUMENTS_LIMIT or not all(_is_plain(part) for part in parts):
            raise ModelFileError(
                f'arguments.{name} is {schema.shown(value)}; expected a text, or numbers of magnitude '
                f'{ARGUMENT_LIMIT} at most'
            )


def check_argument_types(build: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments whose type is not the one that an architecture declares, such as 1 for True.

    Args:
        build: Class of the network, or a function that makes one.
        arguments: Keyword arguments; unknown ones are left to ``build``.

    Raises:
        ModelFileError: An argument has another type.
    """
    hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build)
    for name, value in arguments.items():
        if hints.get(name) in (int, float, str, bool):
            schema.check_value(hints[name], value, f'arguments.{name}', ModelFileError)


def _is_plain(value: object) -> bool:
    if value is None or isinstance(value, (bool, str)):
        return True
    return isinstance(value, (int, float)) and -ARGUMENT_LIMIT <= value <= ARGUMENT_LIMIT


class _Count(TorchFunctionMode):
    """Counts the tensors that torch makes in this thread, and their values."""

    def __init__(self) -> None:
        super().__init__()
        self.n_tensors = 0
        self.n_values = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in _FILLERS:
            return args[0] if args else kwargs['tensor']  # without memory there is nothing to fill
        result = func(*args, **(kwargs or {}))
        if func in _MAKERS and isinstance(result, Tensor):
            self.n_tensors += 1
            self.n_values += result.numel()
            if self.n_tensors > N_TENSORS_LIMIT:
                raise ModelFileError(f'the network has more than {N_TENSORS_LIMIT} tensors; expected fewer')
            if self.n_values > N_VALUES_LIMIT:
                raise ModelFileError(f'the network has more than {N_VALUES_LIMIT} values; expected fewer')
        return result
