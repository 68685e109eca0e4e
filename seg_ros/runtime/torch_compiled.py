"""PyTorch compiled by Inductor: weights frozen and packed, batch norm folded, the rest fused.

Compiling takes tens of seconds the first time and a few afterwards, from Inductor's cache on disk.
"""

import shutil

import torch
import torch._inductor.config

from seg_ros.image import FrameNetwork
from seg_ros.runtime.torch_eager import TorchBackend

COMPILERS = ('g++', 'clang++', 'c++')


class CompiledBackend(TorchBackend):
    """torch.compile with freezing; see seg_ros.runtime.backend.Backend."""

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None:
        super().__init__(network, input_size, device, n_threads)
        # Each model starts afresh: what an earlier one compiled does not count against the recompile limit.
        torch.compiler.reset()
        # As an option of torch.compile, freezing would come after weights have been made inputs of the graph:
        # they would be packed anew for every frame, and 8-bit convolutions not be found.
        with torch._inductor.config.patch(freezing=True):
            self._run = torch.compile(self._run, dynamic=False)
            self(torch.zeros(1, *input_size, 3, dtype=torch.uint8))

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if device.type == 'cpu' and not any(shutil.which(name) for name in COMPILERS):
            return f'needs a C++ compiler ({", ".join(COMPILERS)}); on Debian and Ubuntu: apt install g++'
        if dtype == torch.int8 and device.type != 'cpu':
            return 'has 8-bit convolutions for CPUs only'
        if dtype == torch.int8 and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return 'has 8-bit convolutions where torch is built with oneDNN only (x86)'
        return None
