"""A network with the embedding filter behind it, as one module to train."""

from torch import Tensor, nn

from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.masked_average import filter_scores


class FilteredNetwork(nn.Module):
    """A network with the filter that its embeddings drive, to learn with and to compare with.

    Args:
        frames: with embeddings.
        window: of the filter, see seg_ros.networks.masked_average.
        iterations: of the filter.
    """

    def __init__(self, frames: FrameNetwork, window: int, iterations: int) -> None:
        super().__init__()
        self.frames, self.window, self.iterations = frames, window, iterations

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB to (B, n_classes, h, w) float32 scores, no coarser than the embeddings."""
        return self.answer(images)[0]

    def answer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The scores, and the embeddings (B, D, h, w) float32 that sharpened them."""
        answers = self.frames(images)
        return self.filter_scores(answers['scores'], answers['embeddings']), answers['embeddings']

    def filter_scores(self, scores: Tensor, embeddings: Tensor) -> Tensor:
        """See seg_ros.networks.masked_average.filter_scores."""
        assert self.frames.embeddings is not None
        return filter_scores(
            scores, embeddings, self.frames.embeddings.hardness, self.window, self.iterations
        )
