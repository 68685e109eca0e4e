"""PyTorch compiled by Inductor: weights frozen and packed, batch norm folded, the rest fused.

Compiling takes tens of seconds the first time and a few afterwards, from Inductor's cache on disk.
"""

import shutil

import torch
from torch import Tensor

from seg_ros.image import ImageNetwork

COMPILERS = ('g++', 'clang++', 'c++')


class CompiledBackend:
    """torch.compile with freezing; see seg_ros.runtime.backend.Backend."""

    def __init__(
        self, network: ImageNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None:
        if n_threads:
            torch.set_num_threads(n_threads)
        self._device = device
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Each model starts afresh: what an earlier one compiled does not count against the recompile limit.
        torch.compiler.reset()
        self._run = torch.compile(network, dynamic=False, options={'freezing': True})
        self(torch.zeros(1, *input_size, 3, dtype=torch.uint8))

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if device.type == 'cpu' and not any(shutil.which(name) for name in COMPILERS):
            return f'needs a C++ compiler ({", ".join(COMPILERS)}); on Debian and Ubuntu: apt install g++'
        return None

    @torch.no_grad()  # freezing refuses inference_mode
    def __call__(self, images: Tensor) -> Tensor:
        scores: Tensor = self._run(images.to(self._device))
        return scores
