"""A network with its embedding filter as one module, for training and for comparison with the kernels."""

from torch import Tensor, nn

from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.masked_average import filter_scores


class FilteredNetwork(nn.Module):
    """A network whose scores are filtered by its embeddings, with gradients.

    Args:
        frames: Network with embeddings.
        window: Width and height of the filter's window, see
            :func:`seg_ros.networks.masked_average.filter_scores`.
        iterations: Number of iterations of the filter.
    """

    def __init__(self, frames: FrameNetwork, window: int, iterations: int) -> None:
        super().__init__()
        self.frames, self.window, self.iterations = frames, window, iterations

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB to (B, n_classes, h, w) float32 scores, not coarser than the embeddings."""
        answers = self.frames(images)
        return self.filter_scores(answers['scores'], answers['embeddings'])

    def filter_scores(self, scores: Tensor, embeddings: Tensor) -> Tensor:
        """Apply :func:`seg_ros.networks.masked_average.filter_scores` with the learned hardness."""
        assert self.frames.embeddings is not None
        return filter_scores(
            scores, embeddings, self.frames.embeddings.hardness, self.window, self.iterations
        )
