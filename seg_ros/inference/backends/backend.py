"""The protocol of inference backends, their errors, and the choice of device and threads."""

import importlib.util
import logging
import re
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from seg_ros._numba import n_cores
from seg_ros.errors import BackendError, SegRosError, UnavailableError
from seg_ros.networks.frame_network import FrameNetwork

log = logging.getLogger(__name__)

_LONGEST_REASON = 300
_OF_COMPILER = re.compile(r': (fatal )?error: ')
"""The line of a compiler that names an error: ``file:line: error: reason``."""

_WHERE = 'Exception from '
"""Start of the lines in which OpenVINO names its source files."""


class NetworkRunner(Protocol):
    """Runs one network at one input size, or reports why it cannot."""

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Args:
            images: (1, height, width, 3) uint8 RGB on the CPU, contiguous.

        Returns:
            Tensors by name as ``FrameNetwork.forward`` returns them, on the device.
        """
        ...


class Backend(NetworkRunner, Protocol):
    """Runs one network at one input size.

    A backend is built from a FrameNetwork in evaluation mode that already computes at the wanted level, the
    (height, width) of its input, a device and a number of threads. It is registered in
    seg_ros.inference.backends.registry.
    """

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None: ...

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        """Reason why this computer cannot run the backend, with the remedy; None if it can."""
        ...

    @staticmethod
    def why_not_graph(device: torch.device) -> str | None:
        """Reason why the backend cannot run an imported ONNX graph, in words; None if it can.

        A backend that can gets the bytes of the graph from ``onnx_export.onnx_of``.
        """
        ...

    @staticmethod
    def import_libraries() -> None:
        """Import the modules that building the backend needs; a program may do something after it."""
        ...


def choose_device(name: str) -> torch.device:
    """Device by name: 'auto' (the first GPU, else the CPU), 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UnavailableError: The device does not exist; the message lists those that do.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ['cpu', *(f'cuda:{n}' for n in range(n_gpus))]
    if name == 'auto':
        return torch.device(present[1] if n_gpus else 'cpu')
    wanted = 'cuda:0' if name == 'cuda' else name
    if wanted not in present:
        raise UnavailableError(f"device '{name}' does not exist here; available: auto, {', '.join(present)}")
    return torch.device(wanted)


class GuardedBackend:
    """A backend whose errors are ours: too little memory, and everything else that a library raises.

    Args:
        name: Name of the backend, for the messages.
        backend: The backend.
    """

    def __init__(self, name: str, backend: NetworkRunner) -> None:
        self.name, self.backend = name, backend

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Run the network; see :class:`NetworkRunner`.

        Raises:
            BackendError: The backend failed; the next call may succeed.
            ImageError: The images do not fit the network.
        """
        try:
            return self.backend(images)
        except SegRosError:
            raise
        except Exception as err:
            free_memory()
            raise BackendError(f'backend {self.name} failed: {reason_of(err)}') from err


def reason_of(err: BaseException) -> str:
    """Reason of an error of a library, in one line.

    A library may give its reason after a line without content, and may quote the output of a compiler.
    """
    lines = [line.strip() for line in str(err).splitlines()]
    lines = [line for line in lines if line and not line.startswith(_WHERE)]
    text = next(filter(_OF_COMPILER.search, lines), lines[0] if lines else '')
    if isinstance(err, MemoryError):
        return f'not enough memory{": " if text else ""}{text[:_LONGEST_REASON]}'
    return f'{type(err).__name__}: {text[:_LONGEST_REASON]}'


def missing_packages(packages: Sequence[str], extra: str) -> str | None:
    """Reason why a backend cannot run: packages that are not installed, with the extra that has them."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}: pip install 'seg_ros[{extra}]'" if missing else None


def free_memory() -> None:
    """Return cached memory of GPUs to the system, so that another model or frame has room."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def bounded_threads(n_threads: int) -> int:
    """Number of threads that computes fastest: more than one per usable core would stop each other.

    Args:
        n_threads: Number of threads asked for; 0 = one per core.

    Returns:
        The number, at most the number of usable cores; 0 stays 0.
    """
    if n_threads > n_cores():
        log.info('n_threads %d: this process may use %d cores, so %d are used', n_threads, *[n_cores()] * 2)
    return min(n_threads, n_cores())


class _TorchThreads:
    """Number of threads that torch had before it was changed here, and the number set here."""

    original, ours = 0, 0


def use_threads(n_threads: int) -> None:
    """Set torch's number of threads, for this process.

    Args:
        n_threads: Number of threads; 0 = the number that torch had at first, or one per usable core if that
            is less.
    """
    current = torch.get_num_threads()
    if current != _TorchThreads.ours:
        _TorchThreads.original = current
    wanted = min(n_threads or _TorchThreads.original, n_cores())
    if wanted != current:
        torch.set_num_threads(wanted)
        _TorchThreads.ours = wanted
