"""Eager PyTorch: runs everywhere, needs nothing else, and is the reference for the other backends.

torch is imported by what uses it: whether it is needed at all is asked before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_ros._numba import n_cores
from seg_ros.inference.backends.backend import missing_packages
from seg_ros.inference.backends.gpu_memory import GpuImages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource


class TorchBackend:
    """Eager PyTorch; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        import torch

        use_threads(n_threads)
        self._device = torch.device(device)
        self._network = source.build().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: Callable[[Tensor], dict[str, Tensor]] = self._network
        self._gpu_images = None if device == 'cpu' else GpuImages(self._device, input_size)
        self.takes_any_size = self._gpu_images is not None

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if computes_in == 'int8':
            return 'computes 8-bit networks in float; take torch_compile, onnxruntime or openvino'
        return missing_packages(('torch',), 'torch')

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        return 'runs networks of PyTorch, and the model is an imported ONNX graph'

    @staticmethod
    def import_libraries() -> None:
        import torch  # noqa: F401

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        import torch

        with torch.no_grad():  # not inference_mode: freezing, in the compiled form, refuses it
            answers = self._run(self._images(images))
        if self._device.type != 'cpu':
            return dict(answers)
        return {name: answer.numpy() for name, answer in answers.items()}

    def _images(self, images: UInt8Array) -> Tensor:
        """Images as a tensor on the device; on a GPU of the network's size."""
        import torch

        return self._gpu_images(images) if self._gpu_images else torch.from_numpy(images)


class _TorchThreads:
    """Number of threads that torch had before it was changed here, and the number set here."""

    original, ours = 0, 0


def use_threads(n_threads: int) -> None:
    """Set torch's number of threads, for this process.

    Args:
        n_threads: Number of threads; 0 = the number that torch had at first, or one per usable core if that
            is less.
    """
    import torch

    current = torch.get_num_threads()
    if current != _TorchThreads.ours:
        _TorchThreads.original = current
    wanted = min(n_threads or _TorchThreads.original, n_cores())
    if wanted != current:
        torch.set_num_threads(wanted)
        _TorchThreads.ours = wanted
