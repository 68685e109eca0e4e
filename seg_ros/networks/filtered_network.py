"""A network with its embedding filter as one module, for training and for comparison with the kernels."""

from torch import Tensor, nn

from seg_ros.networks.filter_rules import Averaged
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.masked_average import filter_scores


class FilteredNetwork(nn.Module):
    """A network whose scores are filtered by its embeddings, with gradients.

    Args:
        frames: Network with embeddings.
        window: Width and height of the filter's window, see
            :func:`seg_ros.networks.masked_average.filter_scores`.
        iterations: Number of iterations of the filter.
        averages: Values that the filter averages.
    """

    def __init__(
        self, frames: FrameNetwork, window: int, iterations: int, averages: Averaged = 'probabilities'
    ) -> None:
        super().__init__()
        self.frames, self.window, self.iterations, self.averages = frames, window, iterations, averages

    def forward(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB to (B, n_classes, h, w) float32 scores, not coarser than the embeddings."""
        answers = self.frames(images)
        return self.filter_scores(answers['scores'], answers['embeddings'])

    def filter_scores(self, scores: Tensor, embeddings: Tensor) -> Tensor:
        """Apply :func:`seg_ros.networks.masked_average.filter_scores` with the learned hardness."""
        assert self.frames.embeddings is not None
        hardness = self.frames.embeddings.hardness
        return filter_scores(scores, embeddings, hardness, self.window, self.iterations, self.averages)
