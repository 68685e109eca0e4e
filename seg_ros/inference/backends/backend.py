"""The protocol of inference backends, their errors, and the choice of device and threads."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from seg_ros._numba import n_cores
from seg_ros.errors import BackendError, ImageError, SegRosError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

log = logging.getLogger(__name__)

_LONGEST_REASON = 300
_OF_COMPILER = re.compile(r': (fatal )?error: ')
"""The line of a compiler that names an error: ``file:line: error: reason``."""

_WHERE = 'Exception from '
"""Start of the lines in which OpenVINO names its source files."""


_GPU_FILES = ('/dev/nvidiactl', '/dev/dxg', '/dev/kfd', '/dev/nvhost-gpu', '/dev/nvgpu', '/dev/nvmap')
"""Files that the drivers of GPUs make: NVIDIA's, WSL's, AMD's, those of Jetson boards."""


class NetworkRunner(Protocol):
    """Runs one network at one input size, or reports why it cannot; see also :func:`takes_any_size`."""

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network.

        Args:
            images: (1, height, width, 3) uint8 RGB, contiguous, writeable; of any size and order in memory,
                perhaps read-only, if :func:`takes_any_size`.
            wanted: Names of the outputs that are needed, of which there may be more; None = all of them.

        Returns:
            Maps by name as ``FrameNetwork.forward`` returns them: arrays, or tensors on a GPU. They are not
            written to later. Scores may be folded if there are no embeddings, see ``arrays.unfolded``.
        """
        ...


def takes_any_size(runner: NetworkRunner) -> bool:
    """Whether a runner resizes images itself, on a GPU: it has an attribute of this name that is True."""
    return bool(getattr(runner, 'takes_any_size', False))


class Backend(NetworkRunner, Protocol):
    """Runs one network at one input size.

    A backend is built from a network that computes at the wanted level, the (height, width) of its input, the
    name of a device and a number of threads. It is registered in seg_ros.inference.backends.registry. Its
    module must import without torch unless it runs networks by torch, and so must the questions ``why_not``.
    """

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None: ...

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        """Reason why this computer cannot run the backend, with the remedy; None if it can.

        Args:
            device: Name of the device, e.g. 'cpu' or 'cuda:0'.
            computes_in: Name of the dtype that networks compute in, e.g. 'float32' or 'int8'.
        """
        ...

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        """Reason why the backend cannot run an imported ONNX graph, in words; None if it can.

        A backend that can gets the bytes of the graph from ``onnx_export.onnx_of``.
        """
        ...

    @staticmethod
    def import_libraries() -> None:
        """Import the modules that building the backend needs; a program may do something after it."""
        ...


def choose_device(name: str) -> str:
    """Device by name: 'auto' (the first GPU, else the CPU), 'cpu', 'cuda' or 'cuda:N'.

    Returns:
        'cpu' or 'cuda:N'.

    Raises:
        UnavailableError: The device does not exist; the message lists those that do.
    """
    if name == 'cpu':
        return name
    present = ['cpu', *(f'cuda:{n}' for n in range(_n_gpus()))]
    if name == 'auto':
        return present[1] if len(present) > 1 else 'cpu'
    wanted = 'cuda:0' if name == 'cuda' else name
    if wanted not in present:
        raise UnavailableError(f"device '{name}' does not exist here; available: auto, {', '.join(present)}")
    return wanted


def _n_gpus() -> int:
    """Number of GPUs that torch computes on; torch is not loaded where no driver of a GPU is."""
    if sys.modules.get('torch') is None:
        has_driver = any(map(Path.exists, map(Path, _GPU_FILES)))
        if not has_driver or importlib.util.find_spec('torch') is None:
            return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_images(images: UInt8Array, shape: tuple[int, ...]) -> None:
    """Refuse images that a network was not built for.

    Raises:
        ImageError: They differ in shape, type or order in memory.
    """
    if images.shape != shape or images.dtype != 'uint8' or not images.flags.c_contiguous:
        raise ImageError(
            f'images of shape {images.shape}, {images.dtype}; expected {shape}, uint8, contiguous, which the '
            'network was built for'
        )


class GuardedBackend:
    """A backend whose errors are ours: too little memory, and everything else that a library raises.

    Args:
        name: Name of the backend, for the messages.
        backend: The backend.
    """

    def __init__(self, name: str, backend: NetworkRunner) -> None:
        self.name, self.backend = name, backend
        self.takes_any_size = takes_any_size(backend)

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see :class:`NetworkRunner`.

        Raises:
            BackendError: The backend failed; the next call may succeed.
            ImageError: The images do not fit the network.
        """
        with guarded(f'backend {self.name}'):
            return self.backend(images, wanted)


@contextlib.contextmanager
def guarded(name: str) -> Iterator[None]:
    """Make errors of libraries ours; a GPU reports those of a network when its results are waited for.

    Args:
        name: What runs, for the message.

    Raises:
        BackendError: An exception that is not one of ours was raised inside.
    """
    try:
        yield
    except SegRosError:
        raise
    except Exception as err:
        free_memory()
        raise BackendError(f'{name} failed: {reason_of(err)}') from err


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
    if sys.modules.get('torch') is not None:
        import torch

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
