"""Images on their way into a network: resizing and normalisation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError
from seg_ros.models.binary_layer import BinaryLayer
from seg_ros.models.embedding_head import EmbeddingHead
from seg_ros.models.masked_average import sharpen
from seg_ros.types import UInt8Array

CODE_STRIDE = 4
"""Pixels from one place that has bits to the next."""


@dataclass(frozen=True)
class Normalisation:
    """How 8-bit values become network input: value / 255, minus mean, divided by std, in channel_order.

    Attributes:
        mean: per channel, in the network's channel order, on the 0..1 scale.
        std: per channel, above 0.
        channel_order: 'rgb' or 'bgr', what the network was trained on.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    channel_order: str = 'rgb'

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not np.isfinite(values).all() or min(self.std) <= 0:
            raise ModelFileError(
                f'normalisation mean {self.mean}, std {self.std}: expected 3 finite values each, std above 0'
            )
        if self.channel_order not in ('rgb', 'bgr'):
            raise ModelFileError(f"channel order '{self.channel_order}'; expected 'rgb' or 'bgr'")

    def as_json(self) -> dict[str, Any]:
        """The form that model files use."""
        return asdict(self)


class ImageNetwork(nn.Module):
    """A network with its normalisation in front, so that whoever runs it hands over plain images.

    Args:
        network: maps (B, 3, H, W) float to (B, n_classes, H, W) scores.
        normalisation: what the network was trained with.
        dtype: what the network computes in; normalisation and scores stay float32.
    """

    def __init__(
        self, network: nn.Module, normalisation: Normalisation, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self.dtype = dtype
        self.flip = normalisation.channel_order == 'bgr'
        scale = torch.tensor(normalisation.std) * 255
        self.scale: Tensor
        self.offset: Tensor
        offset = -torch.tensor(normalisation.mean) / torch.tensor(normalisation.std)
        self.register_buffer('scale', (1 / scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('offset', offset.view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of a batch of images.

        Args:
            images: (B, H, W, 3) uint8 RGB.

        Returns:
            (B, n_classes, H, W) float32 scores; of an encoder alone, its last map.
        """
        batch, height, width, n_channels = images.shape
        scale, offset = self.scale.flatten(), self.offset.flatten()
        if self.flip:
            scale, offset = scale.flip(0), offset.flip(0)
        # Whole rows at once: three channels alone fill a vector register badly.
        rows = images.reshape(batch, height, width * n_channels).float()
        rows = rows * scale.repeat(width) + offset.repeat(width)
        x = rows.view(batch, height, width, n_channels).permute(0, 3, 1, 2)
        if self.flip:
            x = x.flip(1)
        answer = self.network(x.to(self.dtype))
        scores: Tensor = answer if isinstance(answer, Tensor) else answer[-1]  # an encoder gives its maps
        return scores.float()


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


class SharpenedNetwork(nn.Module):
    """A network with the filter that its embeddings drive, to learn with and to compare with.

    Args:
        frames: with embeddings.
        window: of the filter, see seg_ros.models.masked_average.
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
        return self.sharpen(answers['scores'], answers['embeddings']), answers['embeddings']

    def sharpen(self, scores: Tensor, embeddings: Tensor) -> Tensor:
        """See seg_ros.models.masked_average.sharpen."""
        assert self.frames.embeddings is not None
        return sharpen(scores, embeddings, self.frames.embeddings.hardness, self.window, self.iterations)


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


def resize_image(image: UInt8Array, height: int, width: int) -> UInt8Array:
    """Stretch an image to (height, width): averaging where it shrinks by half or more, bilinear otherwise.

    Args:
        image: (H, W, 3) uint8.
        height: of the result, in pixels, 1 or more.
        width: of the result, in pixels, 1 or more.

    Returns:
        (height, width, 3) uint8; ``image`` itself where the size already fits.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= 2 * height or image.shape[1] >= 2 * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)
