"""The protocol of inference backends, and the choice of the device."""

from typing import Protocol

import torch
from torch import Tensor

from seg_ros.errors import UnavailableError
from seg_ros.networks.frame_network import FrameNetwork


class Backend(Protocol):
    """Runs one network at one input size.

    A backend is built from a FrameNetwork in evaluation mode that already computes at the wanted level, the
    (height, width) of its input, a device and a number of threads. It is registered in
    seg_ros.inference.backends.registry.
    """

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None: ...

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        """Reason why this computer cannot run the backend, with the remedy; None if it can."""
        ...

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Run the network.

        Args:
            images: (1, height, width, 3) uint8 RGB on the CPU, contiguous.

        Returns:
            Tensors by name as ``FrameNetwork.forward`` returns them, on the device.
        """
        ...


def choose_device(name: str) -> torch.device:
    """Device by name: 'auto' (the first GPU, else the CPU), 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UnavailableError: The device does not exist; the message lists those that do.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ['cpu', *(f'cuda:{n}' for n in range(n_gpus))]
    if name == 'auto':
        return torch.device(present[1] if n_gpus else 'cpu')
    wanted = 'cuda:0' if name == 'cuda' else name
    if wanted not in present:
        raise UnavailableError(f"device '{name}' does not exist here; available: auto, {', '.join(present)}")
    return torch.device(wanted)
