"""The processes of a training run: a single one, or several under ``torchrun``."""

import os
from dataclasses import dataclass

import torch
from torch import distributed

from seg_ros.errors import UnavailableError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: Number of this process, 0 .. world_size - 1; rank 0 writes and prints.
        world_size: Number of processes.
        device: Device that this process computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.world_size > 1:
            distributed.barrier()


def join(device: str) -> Processes:
    """Join the processes that torchrun started; without torchrun, this process trains alone.

    To be called by a program, not by a library: the process group and the current GPU hold for the process.

    Args:
        device: 'auto', 'cpu' or 'cuda'; under torchrun each process takes the GPU of its local rank.

    Raises:
        UnavailableError: The device is 'cuda' and torch finds no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if device.startswith('cuda') and not has_gpu:
        raise UnavailableError(f"device is '{device}', but torch finds no GPU; available: cpu")
    on_gpu = has_gpu and device != 'cpu'
    if 'RANK' not in os.environ:
        return Processes(0, 1, torch.device(('cuda' if device == 'auto' else device) if on_gpu else 'cpu'))
    distributed.init_process_group('nccl' if on_gpu else 'gloo')
    local = torch.device('cuda', int(os.environ['LOCAL_RANK'])) if on_gpu else torch.device('cpu')
    if on_gpu:
        torch.cuda.set_device(local)
    return Processes(distributed.get_rank(), distributed.get_world_size(), local)


def leave() -> None:
    """Leave the process group; the counterpart of :func:`join`."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
