"""What every backend offers, and the device it runs on."""

from typing import Protocol

import torch
from torch import Tensor

from seg_ros.errors import UnavailableError
from seg_ros.networks.frame_network import FrameNetwork


class Backend(Protocol):
    """Runs one network at one input size.

    A backend is built from a FrameNetwork in evaluation mode that already computes in the wanted precision,
    the (height, width) of its input, a device and a number of threads.
    """

    def __init__(
        self, network: FrameNetwork, input_size: tuple[int, int], device: torch.device, n_threads: int
    ) -> None: ...

    @staticmethod
    def why_not(device: torch.device, dtype: torch.dtype) -> str | None:
        """Why this computer cannot run it, with what to do about it; None where it can."""
        ...

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """What the network says about images.

        Args:
            images: (1, height, width, 3) uint8 RGB on the CPU, contiguous.

        Returns:
            As ``FrameNetwork.forward``, on the device.
        """
        ...


def choose_device(name: str) -> torch.device:
    """The device behind 'auto', 'cpu' or 'cuda:N'.

    Raises:
        UnavailableError: there is no such device; the message lists those there are.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ['cpu', *(f'cuda:{n}' for n in range(n_gpus))]
    if name == 'auto':
        return torch.device(present[1] if n_gpus else 'cpu')
    wanted = 'cuda:0' if name == 'cuda' else name
    if wanted not in present:
        raise UnavailableError(f"device '{name}' is not here; available: auto, {', '.join(present)}")
    return torch.device(wanted)
