"""PyTorch compiled by Inductor: weights frozen and packed, the remaining operations fused, on GPUs recorded.

Compiling takes tens of seconds the first time, and half as long later, from Inductor's cache.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros._caches import cache_folder, provide_folders
from seg_ros.errors import BackendError
from seg_ros.inference.backends.backend import check_images, missing_packages
from seg_ros.inference.backends.cuda_graph import CudaRecording
from seg_ros.inference.backends.machine import is_x86
from seg_ros.inference.backends.torch_eager import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor, dtype, nn

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

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
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        import torch

        from seg_ros.inference.backends.compiler_memory import forget_compiled, without_records
        from seg_ros.quantization.int8_layers import has_float_work

        super().__init__(source, input_size, device, n_threads)
        self._shape = (1, *input_size, 3)
        # As an option of torch.compile, freezing would come after the weights became inputs of the graph:
        # they would be packed anew for every frame, and 8-bit convolutions would not be recognised.
        halves = device == 'cpu' and has_float_work(self._network) and computes_bfloat16()
        run = _with_own_code(self._network, torch.bfloat16 if halves else None)
        # The compiled network hangs on this code object, in a circle that garbage collection does not see.
        weakref.finalize(self, forget_compiled, run.__code__).atexit = False
        with _inductor(device), without_records():
            self._run = torch.compile(run, dynamic=False, options=_without_guards())
            blank = np.zeros(self._shape, np.uint8)
            self(blank)
            if device != 'cpu':
                self._run = CudaRecording(self._run, self._images(blank))

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see seg_ros.inference.backends.backend.Backend.

        Raises:
            ImageError: On a CPU, the images differ in shape or type from those that the network was compiled
                for.
        """
        if not self.takes_any_size:
            check_images(images, self._shape)
        return super().__call__(images, wanted)

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if reason := missing_packages(('torch',), 'torch'):
            return reason
        if cache_folder('inductor') is None:
            return 'needs a folder for compiled code: set XDG_CACHE_HOME to a folder that you can write to'
        if not any(shutil.which(name) for name in COMPILERS):
            return f'needs a C++ compiler ({", ".join(COMPILERS)}); on Debian and Ubuntu: apt install g++'
        if computes_in == 'int8' and device != 'cpu':
            return 'has 8-bit convolutions for CPUs only'
        if computes_in == 'int8' and not is_x86():
            return 'has 8-bit convolutions where torch is built with oneDNN only (x86)'
        return None

    @staticmethod
    def import_libraries() -> None:
        provide_folders()
        for name in _LIBRARIES:
            with contextlib.suppress(ImportError):  # names depend on the version of torch
                importlib.import_module(name)


@contextlib.contextmanager
def _inductor(device: str) -> Iterator[None]:
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
    options = {'freezing': True, 'cpp_wrapper': device == 'cpu'}
    if hasattr(config, 'cpp_cache_precompile_headers') and not shutil.which('openssl'):
        options['cpp_cache_precompile_headers'] = False  # they are named by a digest that openssl computes
    with config.patch(options):
        yield


def computes_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions, so that bfloat16 is not slower than float32."""
    import torch

    asked = getattr(torch.cpu, '_is_avx512_bf16_supported', None)  # torch 2.5
    return bool(asked and asked())


def _with_own_code(network: nn.Module, float_type: dtype | None) -> Callable[[Tensor], dict[str, Tensor]]:
    """Function that runs the network, with a code object of its own.

    torch.compile keeps its result with the code object of a function. All networks share that of
    ``FrameNetwork.forward``; without guards, each of them would run as the first result found there.

    Args:
        network: Network from images to tensors by name.
        float_type: Type of the float operations of an 8-bit network; None = float32. Most of these work on
            large maps, where memory bandwidth decides the time.
    """
    import torch

    def run(images: Tensor) -> dict[str, Tensor]:
        with torch.autocast('cpu', float_type, enabled=float_type is not None):
            answers: dict[str, Tensor] = network(images)
        return answers

    return FunctionType(run.__code__.replace(), run.__globals__, run.__name__, None, run.__closure__)


def _without_guards() -> dict[str, Any] | None:
    """Options of torch.compile that drop its checks of each call.

    The network belongs to this backend and does not change, and the backend checks the images itself.
    """
    import torch

    skip = getattr(torch.compiler, 'skip_all_guards_unsafe', None)  # torch 2.8
    return {'guard_filter_fn': skip} if skip else None
