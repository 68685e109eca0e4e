"""Eager PyTorch: runs everywhere, needs nothing else, and is the reference for the other backends."""

import torch
from torch import Tensor

from seg_ros.inference.backends.backend import use_threads
from seg_ros.networks.frame_network import FrameNetwork


class TorchBackend:
    """Eager PyTorch; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None:
        use_threads(n_threads)
        self._device = device
        self._run = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        if dtype == torch.int8:
            return 'computes 8-bit networks in float; take torch_compile, onnxruntime or openvino'
        return None

    @staticmethod
    def why_not_graph(device: torch.device) -> str | None:
        return 'runs networks of PyTorch, and the model is an imported ONNX graph'

    @staticmethod
    def import_libraries() -> None:
        pass  # torch is there already

    @torch.no_grad()  # not inference_mode: freezing, in the compiled form, refuses it
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        answers: dict[str, Tensor] = self._run(images.to(self._device))
        return answers
