"""PyTorch on an NVIDIA GPU, with all operations of the network recorded once and started as one.

A small network has hundreds of operations, each of which takes less time on a GPU than Python needs to start
it. A CUDA graph starts them all by one call. It needs no compiler.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from seg_ros.inference.backends.torch_eager import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import torch
    from torch import Tensor

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

_N_WARM = 3
"""Number of runs before the recording, in which libraries choose their algorithms."""

_RECORDING = threading.Lock()
"""torch records one graph at a time in a process."""


class CudaGraphBackend(TorchBackend):
    """Eager PyTorch, recorded; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        super().__init__(source, input_size, device, n_threads)
        network, images = self._network, _blank(self._device, input_size)
        self._run = everything = CudaRecording(network, images)
        codes, self._run_without_codes = network.codes, everything
        if codes is not None:
            network.codes = None
            self._run_without_codes = CudaRecording(network, images, everything)
            network.codes = codes

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see seg_ros.inference.backends.backend.Backend."""
        needs_codes = wanted is None or 'codes' in wanted
        return dict((self._run if needs_codes else self._run_without_codes)(self._images(images)))

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if not device.startswith('cuda'):
            return 'runs on GPUs of NVIDIA only'
        if computes_in == 'int8':
            return 'has no 8-bit convolutions: take fp16'
        return TorchBackend.why_not(device, computes_in)


def _blank(device: torch.device, size: tuple[int, int]) -> Tensor:
    import torch

    return torch.zeros(1, *size, 3, dtype=torch.uint8, device=device)


class CudaRecording:
    """A network on a GPU whose operations are started as one CUDA graph.

    Args:
        network: Network from images to tensors by name, which does not change later.
        images: (1, height, width, 3) uint8 on the GPU: an example. All images must have its size.
        beside: A recording whose memory this one shares; results of one are lost when the other runs.
    """

    def __init__(
        self,
        network: Callable[[Tensor], dict[str, Tensor]],
        images: Tensor,
        beside: CudaRecording | None = None,
    ) -> None:
        import torch

        device = images.device
        self._network = network  # a compiled one owns the weights
        self._images, self._graph = images.clone(), torch.cuda.CUDAGraph()
        stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        pool = None if beside is None else beside._graph.pool()
        stream.wait_stream(torch.cuda.current_stream(device))
        with _RECORDING, torch.no_grad(), torch.cuda.device(device):
            with torch.cuda.stream(stream), _libraries_choose():
                for _ in range(_N_WARM):
                    network(self._images)
                stream.synchronize()
            # Another model may serve frames in another thread meanwhile.
            with torch.cuda.graph(self._graph, pool, stream, 'thread_local'):
                self._answers = network(self._images)
        torch.cuda.current_stream(device).wait_stream(stream)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """New tensors by name for images of the example's size."""
        self._images.copy_(images)
        self._graph.replay()
        return {name: answer.clone() for name, answer in self._answers.items()}


@contextlib.contextmanager
def _libraries_choose() -> Iterator[None]:
    """Let cuDNN time its algorithms for each convolution; it keeps its choice."""
    import torch

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
