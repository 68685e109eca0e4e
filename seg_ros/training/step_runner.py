"""Runs a training step: for several processes, and compiled."""

import gc
import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seg_ros._caches import provide_folders
from seg_ros.training.distributed import Processes
from seg_ros.training.training_step import TrainingStep
from seg_ros.training.workarounds import find_gradient_faults

log = logging.getLogger(__name__)


class StepRunner:
    """Computes the loss of a batch so that gradients are averaged over all processes.

    A compiled step runs on the first batch together with the plain step. If its gradients are wrong, the
    plain step is used instead.

    Args:
        step: Network, teacher and loss.
        processes: Processes that train together.
        is_compiled: Whether to compile the step with torch.compile.

    Attributes:
        plain: The step without compilation.
    """

    def __init__(self, step: TrainingStep, processes: Processes, *, is_compiled: bool) -> None:
        self._step, self._processes = step, processes
        self.plain: Callable[[Tensor, Tensor], Tensor] = (
            DistributedDataParallel(step) if processes.world_size > 1 else step
        )
        provide_folders()
        self._run = torch.compile(self.plain) if is_compiled else self.plain
        self._is_checked = not is_compiled

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, H, W, 3) uint8 images against (B, H, W) uint8 labels, a () float."""
        if not self._is_checked:
            self._check(images, labels)
        loss: Tensor = self._run(images, labels)
        return loss

    def release(self) -> None:
        """Free the objects that the processes share, before the processes part.

        If DistributedDataParallel holds the last reference to the process group, its destructor waits for the
        group's threads without releasing the interpreter, which these threads may need: some runs then never
        ended (torch 2.13). After this call the group itself is destroyed last, and does release the
        interpreter.
        """
        self.plain = self._run = self._step
        gc.collect()

    def _check(self, images: Tensor, labels: Tensor) -> None:
        """Fall back to the plain step if the gradients of the compiled step are wrong."""
        self._is_checked = True
        faults = find_gradient_faults(self._run, self.plain, self._step, (images, labels))
        if not faults:
            return
        self._run = self.plain
        if self._processes.is_main:
            log.warning(
                'torch.compile computes wrong gradients for this network on this machine (%s); training '
                "continues without it and takes longer; 'precision: fp32' may help",
                faults,
            )
