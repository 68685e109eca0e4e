"""PyTorch on an NVIDIA GPU, with all operations of the network recorded once and started as one.

A small network has hundreds of operations, each of which takes less time on a GPU than Python needs to start
it. A CUDA graph starts them all by one call. It needs no compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_ros.inference.backends.torch_eager import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import torch
    from torch import Tensor

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

_N_WARM = 3
"""Number of runs before the recording, in which libraries choose their algorithms."""


class CudaGraphBackend(TorchBackend):
    """Eager PyTorch, recorded; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        super().__init__(source, input_size, device, n_threads)
        network, images = self._network, _blank(self._device, input_size)
        self._run = record(network, images)
        codes, self._run_without_codes = network.codes, self._run
        if codes is not None:
            network.codes = None
            self._run_without_codes = record(network, images)
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


def record(
    network: Callable[[Tensor], dict[str, Tensor]], images: Tensor
) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function that runs a network on a GPU as one CUDA graph.

    Args:
        network: Network from images to tensors by name, which does not change later.
        images: (1, height, width, 3) uint8 on the GPU: an example. All images must have its size.

    Returns:
        The function. Each call returns new tensors.
    """
    import torch

    example = images.clone()
    stream: torch.cuda.Stream = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream(images.device))
    with torch.no_grad(), torch.cuda.device(images.device):
        with torch.cuda.stream(stream), torch.backends.cudnn.flags(enabled=True, benchmark=True):
            for _ in range(_N_WARM):
                network(example)
            stream.synchronize()
        # Another model may serve frames in another thread meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'):
            answers = network(example)
    torch.cuda.current_stream(images.device).wait_stream(stream)

    def run(images: Tensor) -> dict[str, Tensor]:
        example.copy_(images)
        graph.replay()
        return {name: answer.clone() for name, answer in answers.items()}

    return run
