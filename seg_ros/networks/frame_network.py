"""A network with everything that is read from its maps: scores, codes, embeddings."""

from collections.abc import Sequence

from torch import Tensor, nn

from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.image_network import ImageNetwork

CODE_STRIDE = 4
"""Pixels from one place that has bits to the next."""


class FrameNetwork(nn.Module):
    """What a backend runs: all that a model says about images, by name.

    Args:
        network: in evaluation mode; gives scores unless the model has no classes.
        has_scores: whether it has.
        codes: reads codes from the network's maps, where the model has them.
        taps: names of the sub-modules whose results ``codes`` reads; of several results the first counts.
        embeddings: reads embeddings from the image and from maps, where the model has them.
        embedding_taps: names of the sub-modules whose results ``embeddings`` reads.
    """

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
        self._listeners = {name: _Listener() for name in (*taps, *embedding_taps)}
        self._hooks = [
            network.network.get_submodule(name).register_forward_hook(listener)
            for name, listener in self._listeners.items()
        ]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """What is said about a batch of images.

        Args:
            images: (B, H, W, 3) uint8 RGB.

        Returns:
            ``scores``, (B, n_classes, H, W) float32, ``codes``, (B, h, w, n_bits) float32 before the
            threshold and without the colour's part, for about every fourth pixel each way, and
            ``embeddings``, (B, D, h, w) float32: those that the model has.
        """
        answers = {}
        scores = self.network(images)
        maps = self._heard()
        if self.has_scores:
            answers['scores'] = scores
        if self.embeddings is not None:
            pixels = images.permute(0, 3, 1, 2).to(self.network.dtype) / 255
            read = [maps[name] for name in self.embedding_taps]
            answers['embeddings'] = self.embeddings(pixels, read).float()
        if self.codes is not None:
            height, width = -(-images.shape[1] // CODE_STRIDE), -(-images.shape[2] // CODE_STRIDE)
            read = [maps[name] for name in self.taps]
            fits = [m.shape[-2:] for m in read if m.shape[-2] < 2 * height]
            size = max(fits) if fits else (height, width)
            logits = self.codes(read, (int(size[0]), int(size[1])))
            # What the network padded is cut off; maps coarser than every fourth pixel have nothing to cut.
            answers['codes'] = logits[..., :height, :width].permute(0, 2, 3, 1).float()
        return answers

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps that codes are read from, (B, C, h, w) each, of (B, H, W, 3) uint8 RGB images."""
        self.network(images)
        maps = self._heard()
        return [maps[name] for name in self.taps]

    def _heard(self) -> dict[str, Tensor]:
        """What the sub-modules gave in the last run."""
        return {name: listener.take() for name, listener in self._listeners.items()}

    def close(self) -> None:
        """Stop listening to the sub-modules, so that another may listen to the same network."""
        for hook in self._hooks:
            hook.remove()


class _Listener:
    """Keeps what a sub-module gave last; copied along with the network that it listens to."""

    _heard: Tensor | None = None

    def __call__(self, _module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        self._heard = output if isinstance(output, Tensor) else output[0]

    def take(self) -> Tensor:
        """What was heard, which is forgotten."""
        heard, self._heard = self._heard, None
        assert heard is not None
        return heard
