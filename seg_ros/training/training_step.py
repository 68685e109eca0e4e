"""What one optimizer step computes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.losses import SegmentationLoss, distillation_loss, pair_loss
from seg_ros.training.recipe import EmbeddingRecipe, Teacher


class TrainingStep(nn.Module):
    """Network, teacher and loss as one module, so that torch.compile fuses them and DDP wraps them.

    Args:
        network: learns; with embeddings, scores are sharpened and pairs of pixels count.
        loss: on labels.
        precision: 'bf16' for autocast, or 'fp32'.
        teacher: its frozen teacher, or None.
        teaching: how the teacher counts.
        embedding: how pairs count, for a network with embeddings.
    """

    def __init__(
        self,
        network: ImageNetwork | FilteredNetwork,
        loss: SegmentationLoss,
        precision: str,
        teacher: ImageNetwork | None = None,
        teaching: Teacher | None = None,
        embedding: EmbeddingRecipe | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.autocast = precision == 'bf16'
        self.teacher = teacher.eval().requires_grad_(False) if teacher else None
        self.teaching, self.embedding = teaching, embedding

    def train(self, mode: bool = True) -> 'TrainingStep':
        """Switch the network; the teacher, and a network whose head alone learns, stay in evaluation mode."""
        super().train(mode)
        if self.embedding and self.embedding.alone and isinstance(self.network, FilteredNetwork):
            self.network.frames.network.eval()
        if self.teacher:
            self.teacher.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, H, W, 3) uint8 images against (B, H, W) uint8 labels, a () float."""
        scores, loss_of_pairs = self._score(images, labels)
        loss: Tensor = self.loss(scores, labels) + loss_of_pairs
        if self.teacher and self.teaching:
            with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
                taught = at_size(self.teacher(images), labels.shape[-2:])
            divergence = distillation_loss(scores, taught, self.teaching.temperature)
            loss = loss + self.teaching.weight * divergence
        return loss

    def _score(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | float]:
        """Scores at the labels' size, and what pairs of pixels cost."""
        network, embedding = self.network, self.embedding
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            if isinstance(network, ImageNetwork):
                return at_size(network(images), labels.shape[-2:]), 0.0
            answers = network.frames(images)
        assert embedding is not None
        filtered, loss = _filtered(network, embedding, answers, labels)
        return at_size(filtered, labels.shape[-2:]), loss


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _filtered(
    network: FilteredNetwork, embedding: EmbeddingRecipe, answers: dict[str, Tensor], labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Not compiled: hundreds of small steps, in float32, that take longer to compile than they are worth."""
    embeddings = answers['embeddings']
    filtered = network.filter_scores(answers['scores'], embeddings)
    loss = pair_loss(embeddings, labels, embedding.window, embedding.near, embedding.far)
    return filtered, embedding.pairs * loss


def at_size(scores: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, h, w) scores at another size, interpolated as they are for labels."""
    return scores if scores.shape[-2:] == torch.Size(size) else _interpolated(scores, tuple(size))


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _interpolated(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """Not compiled: fused with a convolution and the Jaccard loss, its gradients are 0 (Inductor of 2.13)."""
    return F.interpolate(scores, size, mode='bilinear')
