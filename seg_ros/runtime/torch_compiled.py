"""PyTorch compiled by Inductor: weights frozen and packed, batch norm folded, the rest fused.

Compiling takes tens of seconds the first time and a few afterwards, from Inductor's cache on disk.
"""

import shutil

import torch

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
        self._run = torch.compile(self._run, dynamic=False, options={'freezing': True})
        self(torch.zeros(1, *input_size, 3, dtype=torch.uint8))

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if device.type == 'cpu' and not any(shutil.which(name) for name in COMPILERS):
            return f'needs a C++ compiler ({", ".join(COMPILERS)}); on Debian and Ubuntu: apt install g++'
        return None
