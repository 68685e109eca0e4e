"""PyTorch compiled by Inductor: weights frozen and packed, the remaining operations fused.

Compiling takes tens of seconds the first time, and half as long later, from Inductor's cache.
"""

import contextlib
import importlib
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from seg_ros._caches import cache_folder, provide_folders
from seg_ros.errors import BackendError, ImageError
from seg_ros.inference.backends.compiler_memory import forget_compiled, without_records
from seg_ros.inference.backends.torch_eager import TorchBackend
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.quantization.int8_layers import has_float_work

_LIBRARIES = (
    'torch._dynamo',
    'torch._inductor.compile_fx',
    'torch._inductor.codecache',
    'torch._inductor.lowering',
    'torch._inductor.freezing',
    'torch._inductor.codegen.cpp',
    'torch._inductor.codegen.cpp_wrapper_cpu',
    'torch._inductor.fx_passes.joint_graph',
    'torch._inductor.fx_passes.post_grad',
    'torch._inductor.fx_passes.quantization',
)

COMPILERS = ('g++', 'clang++', 'c++')


class CompiledBackend(TorchBackend):
    """torch.compile with freezing; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None:
        super().__init__(network, input_size, device, n_threads)
        self._shape = (1, *input_size, 3)
        # As an option of torch.compile, freezing would come after the weights became inputs of the graph:
        # they would be packed anew for every frame, and 8-bit convolutions would not be recognised.
        halves = device.type == 'cpu' and has_float_work(network) and computes_bfloat16()
        run = _with_own_code(self._run, torch.bfloat16 if halves else None)
        # The compiled network hangs on this code object, in a circle that garbage collection does not see.
        weakref.finalize(self, forget_compiled, run.__code__).atexit = False
        with _inductor(device), without_records():
            self._run = torch.compile(run, dynamic=False, options=_without_guards())
            self(torch.zeros(self._shape, dtype=torch.uint8))

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Run the network; see seg_ros.inference.backends.backend.Backend.

        Raises:
            ImageError: The images differ in shape or type from those that the network was compiled for.
        """
        if images.shape != self._shape or images.dtype != torch.uint8 or not images.is_contiguous():
            raise ImageError(
                f'images of shape {tuple(images.shape)}, {images.dtype}; '
                f'expected {self._shape}, torch.uint8, contiguous, which the network was compiled for'
            )
        return super().__call__(images)

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if cache_folder('inductor') is None:
            return 'needs a folder for compiled code: set XDG_CACHE_HOME to a folder that you can write to'
        if device.type == 'cpu' and not any(shutil.which(name) for name in COMPILERS):
            return f'needs a C++ compiler ({", ".join(COMPILERS)}); on Debian and Ubuntu: apt install g++'
        if dtype == torch.int8 and device.type != 'cpu':
            return 'has 8-bit convolutions for CPUs only'
        if dtype == torch.int8 and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return 'has 8-bit convolutions where torch is built with oneDNN only (x86)'
        return None

    @staticmethod
    def import_libraries() -> None:
        provide_folders()
        for name in _LIBRARIES:
            with contextlib.suppress(ImportError):  # names depend on the version of torch
                importlib.import_module(name)


@contextlib.contextmanager
def _inductor(device: torch.device) -> Iterator[None]:
    """Import Inductor, with its caches in private folders, and set its options for this context.

    Raises:
        BackendError: There is no folder for compiled code.
    """
    if cache_folder('inductor') is None:
        raise BackendError('there is no folder for compiled code; set XDG_CACHE_HOME to a folder of yours')
    provide_folders()
    import torch._inductor.codecache as codecache
    import torch._inductor.config as config

    # Its default is in the shared temporary folder, whatever the variables say.
    headers = Path(os.environ['TORCHINDUCTOR_CACHE_DIR']) / 'precompiled_headers'
    for name, folder in (('_HEADER_DIR', headers), ('_HEADER_LOCK_DIR', headers / 'locks')):
        if hasattr(codecache, name):
            setattr(codecache, name, str(folder))
    options = {'freezing': True, 'cpp_wrapper': device.type == 'cpu'}
    if hasattr(config, 'cpp_cache_precompile_headers') and not shutil.which('openssl'):
        options['cpp_cache_precompile_headers'] = False  # they are named by a digest that openssl computes
    with config.patch(options):
        yield


def computes_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions, so that bfloat16 is not slower than float32."""
    asked = getattr(torch.cpu, '_is_avx512_bf16_supported', None)  # torch 2.5
    return bool(asked and asked())


def _with_own_code(
    network: nn.Module, float_type: torch.dtype | None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Function that runs the network, with a code object of its own.

    torch.compile keeps its result with the code object of a function. All networks share that of
    ``FrameNetwork.forward``; without guards, each of them would run as the first result found there.

    Args:
        network: Network from images to tensors by name.
        float_type: Type of the float operations of an 8-bit network; None = float32. Most of these work on
            large maps, where memory bandwidth decides the time.
    """

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.autocast('cpu', float_type, enabled=float_type is not None):
            answers: dict[str, Tensor] = network(images)
        return answers

    return FunctionType(run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__)


def _without_guards() -> dict[str, Any] | None:
    """Options of torch.compile that drop its checks of each call.

    The network belongs to this backend and does not change, and the backend checks the images itself.
    """
    skip = getattr(torch.compiler, 'skip_all_guards_unsafe', None)  # torch 2.8
    return {'guard_filter_fn': skip} if skip else None
