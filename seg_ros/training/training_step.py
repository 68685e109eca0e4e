"""The loss of a training step."""

import torch
from torch import Tensor, nn

from seg_ros.arrays import UNLABELLED
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.losses import SegmentationLoss, distillation_loss, pair_loss
from seg_ros.training.recipe import EmbeddingRecipe, Teacher
from seg_ros.training.score_size import at_size
from seg_ros.training.teachers import Teachers


class TrainingStep(nn.Module):
    """Network, teacher and loss as one module, so that torch.compile fuses them and DDP wraps them.

    Args:
        network: Network to train. With embeddings, the filtered scores count, and pairs of pixels.
        loss: Loss on labels.
        precision: 'bf16' for autocast, or 'fp32'.
        teachers: Trained networks to learn from, or None.
        distillation: Settings of the teachers' loss, or None.
        embedding: Settings of the pair loss, for a network with embeddings.
    """

    def __init__(
        self,
        network: ImageNetwork | FilteredNetwork,
        loss: SegmentationLoss,
        precision: str,
        teachers: Teachers | None = None,
        distillation: Teacher | None = None,
        embedding: EmbeddingRecipe | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.autocast = precision == 'bf16'
        self.teachers = teachers
        self.distillation, self.embedding = distillation, embedding

    def train(self, mode: bool = True) -> 'TrainingStep':
        """Set the mode of the network.

        Teachers stay in evaluation mode, and so does a network of which only the head learns.
        """
        super().train(mode)
        if self.embedding and self.embedding.alone and isinstance(self.network, FilteredNetwork):
            self.network.frames.network.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Loss of (B, H, W, 3) uint8 images against (B, H, W) uint8 labels, a () float."""
        scores, embedding_loss = self._score(images, labels)
        loss: Tensor = self.loss(scores, labels) + embedding_loss
        if self.teachers and self.distillation:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
                probs = self.teachers(images, labels)
            divergence = distillation_loss(scores, probs, self.distillation.temperature)
            loss = loss + self.distillation.weight * divergence
        return loss

    def _score(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | float]:
        """Scores at the labels' size, and the loss of pairs of pixels."""
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
    """Filtered scores and pair loss; not compiled, since compiling these hundreds of steps takes too long."""
    embeddings = answers['embeddings']
    labels = labels.where(labels < answers['scores'].shape[1], UNLABELLED)  # groups of classes do not count
    filtered = network.filter_scores(answers['scores'], embeddings)
    loss = pair_loss(embeddings, labels, embedding.window, embedding.near, embedding.far)
    return filtered, embedding.pairs * loss
