"""A network with all heads of a model: scores, and codes and embeddings from its maps.

Backends run a FrameNetwork. It captures the results of sub-modules (the taps) while the network runs and
hands them to the heads.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.image_network import ImageNetwork

CODE_STRIDE = 4
"""Pixels of the image per code, in each direction."""


class FrameNetwork(nn.Module):
    """Computes all outputs of a model for a batch of images, by name.

    Args:
        network: Network in evaluation mode.
        has_scores: Whether the result of the network is scores. False for models without classes.
        codes: Head for codes, or None.
        taps: Names of the sub-modules whose results ``codes`` reads; the first result if there are several.
        embeddings: Head for embeddings, or None.
        embedding_taps: Names of the sub-modules whose results ``embeddings`` reads.

    Attributes:
        identity: Text that no other network has, under which graphs made of this one may be kept; '' = none.
    """

    identity = ''

    def __init__(
        self,
        network: ImageNetwork,
        *,
        has_scores: bool = True,
        codes: BinaryLayer | None = None,
        taps: Sequence[str] = (),
        embeddings: EmbeddingHead | None = None,
        embedding_taps: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network, self.has_scores = network, has_scores
        self.codes = None if codes is None else codes.to(network.dtype)
        self.embeddings = None if embeddings is None else embeddings.to(network.dtype)
        self.taps, self.embedding_taps = list(taps), list(embedding_taps)
        self._captures = {name: _Capture() for name in (*taps, *embedding_taps)}
        self._hooks = [
            network.network.get_submodule(name).register_forward_hook(capture)
            for name, capture in self._captures.items()
        ]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """All outputs that the model has.

        Args:
            images: (B, H, W, 3) uint8 RGB.

        Returns:
            Up to three tensors by name. ``scores``: (B, n_classes, H, W) float32. ``codes``: (B, h, w,
            n_bits) float32 logits of the bits without colour, h and w at most H / 4 and W / 4, rounded up.
            ``embeddings``: (B, D, h, w) float32.
        """
        answers = {}
        scores = self.network(images)
        maps = self._take_maps()
        if self.has_scores:
            answers['scores'] = scores
        if self.embeddings is not None:
            pixels = images.permute(0, 3, 1, 2).to(self.network.dtype) / 255
            tapped = [maps[name] for name in self.embedding_taps]
            answers['embeddings'] = self.embeddings(pixels, tapped).float()
        if self.codes is not None:
            size = images.shape[1], images.shape[2]
            answers['codes'] = _code_logits(self.codes, [maps[name] for name in self.taps], size)
        return answers

    def maps(self, images: Tensor) -> list[Tensor]:
        """(B, H, W, 3) uint8 RGB to the maps that ``codes`` reads, (B, C, h, w) float each."""
        self.network(images)
        maps = self._take_maps()
        return [maps[name] for name in self.taps]

    def close(self) -> None:
        """Remove the hooks, so that another FrameNetwork may capture maps of the same network."""
        for hook in self._hooks:
            hook.remove()

    def _take_maps(self) -> dict[str, Tensor]:
        """Name of each tap -> its result in the last run."""
        return {name: capture.take() for name, capture in self._captures.items()}


class _Capture:
    """A forward hook that keeps the last result of a sub-module; it is copied along with its network."""

    _result: Tensor | None = None

    def __call__(self, _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self._result = output if isinstance(output, Tensor) else output[0]

    def take(self) -> Tensor:
        """Hand over the captured result."""
        result, self._result = self._result, None
        assert result is not None
        return result


def _code_logits(layer: BinaryLayer, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits of the bits at the size of the finest map that is less than twice as fine as CODE_STRIDE.

    Args:
        layer: Head for codes.
        maps: (B, C, h, w) float each, the maps that it reads.
        size: (height, width) of the images.

    Returns:
        (B, h, w, n_bits) float32.
    """
    height, width = -(-size[0] // CODE_STRIDE), -(-size[1] // CODE_STRIDE)
    coarse = [m.shape[-2:] for m in maps if m.shape[-2] < 2 * height]
    finest = max(coarse) if coarse else (height, width)
    logits: Tensor = layer(maps, (int(finest[0]), int(finest[1])))
    # Cut off the padding of the network; maps coarser than CODE_STRIDE have less than height and width.
    return logits[..., :height, :width].permute(0, 2, 3, 1).float()
