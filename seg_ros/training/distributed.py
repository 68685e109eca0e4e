"""The processes of one training run: one alone, or many under ``torchrun``."""

import os
from dataclasses import dataclass

import torch
from torch import distributed

from seg_ros.errors import UnavailableError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: 0 .. world_size - 1; rank 0 validates, writes and prints.
        world_size: processes in all.
        device: what this one computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.world_size > 1:
            distributed.barrier()


def join(device: str) -> Processes:
    """Join the processes that torchrun started, or be the only one.

    Args:
        device: 'auto', 'cpu' or 'cuda'; under torchrun each process takes the GPU of its local rank.

    Raises:
        UnavailableError: a GPU was asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device.startswith('cuda') and not has_gpu:
        raise UnavailableError(f"device '{device}' was asked for, but torch sees no GPU; available: cpu")
    on_gpu = has_gpu and device != 'cpu'
    if 'RANK' not in os.environ:
        return Processes(0, 1, torch.device(('cuda' if device == 'auto' else device) if on_gpu else 'cpu'))
    distributed.init_process_group('nccl' if on_gpu else 'gloo')
    local = torch.device('cuda', int(os.environ['LOCAL_RANK'])) if on_gpu else torch.device('cpu')
    if on_gpu:
        torch.cuda.set_device(local)
    return Processes(distributed.get_rank(), distributed.get_world_size(), local)


def leave() -> None:
    """Undo :func:`join`."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
