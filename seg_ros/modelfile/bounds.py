"""Bounds on the network that a model file describes, checked before anything large exists.

The arguments of an architecture come from the file. A network of a billion weights, or of a hundred thousand
layers, takes few bytes to ask for. Networks are built on the meta device, where tensors have no memory, and
the building stops at the first tensor that is too many.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seg_ros.errors import ModelFileError

N_TENSORS_LIMIT = 5000
"""Maximum number of tensors that are made while a network is built; ENet has 600."""

N_VALUES_LIMIT = 2**28
"""Maximum number of values of a network; FCN with VGG-16 has half of it."""

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
