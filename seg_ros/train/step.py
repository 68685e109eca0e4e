"""What one optimizer step computes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.image import ImageNetwork
from seg_ros.train.losses import SegmentationLoss, distillation_loss
from seg_ros.train.recipe import Teacher


class TrainingStep(nn.Module):
    """Network, teacher and loss as one module, so that torch.compile fuses them and DDP wraps them.

    Args:
        network: learns.
        loss: on labels.
        precision: 'bf16' for autocast, or 'fp32'.
        teacher: its frozen teacher, or None.
        teaching: how the teacher counts.
    """

    def __init__(
        self,
        network: ImageNetwork,
        loss: SegmentationLoss,
        precision: str,
        teacher: ImageNetwork | None = None,
        teaching: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.autocast = precision == 'bf16'
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.teaching = teaching

    def train(self, mode: bool = True) -> 'TrainingStep':
        """Switch the network; the teacher stays in evaluation mode."""
        super().train(mode)
        if self.teacher:
            self.teacher.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, H, W, 3) uint8 images against (B, H, W) uint8 labels, a () float."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            scores = at_size(self.network(images), labels.shape[-2:])
        loss: Tensor = self.loss(scores, labels)
        if self.teacher and self.teaching:
            with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
                taught = at_size(self.teacher(images), labels.shape[-2:])
            divergence = distillation_loss(scores, taught, self.teaching.temperature)
            loss = loss + self.teaching.weight * divergence
        return loss


def at_size(scores: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, h, w) scores at another size, interpolated as they are for labels."""
    return scores if scores.shape[-2:] == torch.Size(size) else _interpolated(scores, tuple(size))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _interpolated(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """Not compiled: fused with a convolution and the Jaccard loss, its gradients are 0 (Inductor of 2.13)."""
    return F.interpolate(scores, size, mode='bilinear')
