"""What a model with embeddings makes of images: the embeddings, and labels without and with its filter."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from seg_ros.arrays import UNLABELLED, Float32Array, UInt8Array
from seg_ros.errors import UnavailableError
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.embedding_filter import EmbeddingFilter, load_filter
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.metadata import EmbeddingMetadata
from seg_ros.modelfile.precision import choose_quantization, frame_network
from seg_ros.networks.frame_network import FrameNetwork


@dataclass(frozen=True)
class LabelChanges:
    """Pixels whose label the filter changed.

    Attributes:
        n_pixels: looked at.
        n_changed: that got another label.
        n_judged: of these, with a known true label.
        n_right: of these, that were wrong and became right.
        n_wrong: of these, that were right and became wrong.
    """

    n_pixels: int = 0
    n_changed: int = 0
    n_judged: int = 0
    n_right: int = 0
    n_wrong: int = 0

    @classmethod
    def between(cls, plain: UInt8Array, filtered: UInt8Array, truth: UInt8Array) -> 'LabelChanges':
        """Count in (H, W) uint8 labels; where ``truth`` is UNLABELLED the true label is not known."""
        changed = plain != filtered
        judged = changed & (truth != UNLABELLED)
        right, wrong = judged & (filtered == truth), judged & (plain == truth)
        return cls(changed.size, *(int(mask.sum()) for mask in (changed, judged, right, wrong)))

    def __add__(self, other: 'LabelChanges') -> 'LabelChanges':
        return LabelChanges(
            self.n_pixels + other.n_pixels,
            self.n_changed + other.n_changed,
            self.n_judged + other.n_judged,
            self.n_right + other.n_right,
            self.n_wrong + other.n_wrong,
        )

    @property
    def share(self) -> float:
        """Of the pixels, 0..1, that got another label."""
        return self.n_changed / max(self.n_pixels, 1)

    @property
    def became_right(self) -> float | None:
        """Share of the changed pixels, 0..1; None where no true label is known."""
        return self.n_right / self.n_judged if self.n_judged else None

    @property
    def became_wrong(self) -> float | None:
        """Share of the changed pixels, 0..1; None where no true label is known."""
        return self.n_wrong / self.n_judged if self.n_judged else None

    def as_json(self) -> dict[str, float | None]:
        """The shares."""
        return {
            'changed_share': self.share,
            'became_right_share': self.became_right,
            'became_wrong_share': self.became_wrong,
        }

    def as_text(self) -> str:
        """The same in a line."""
        text = f'{100 * self.share:.2f} % of pixels'
        if self.became_right is not None and self.became_wrong is not None:
            text += f'; of these {self.became_right:.0%} became right, {self.became_wrong:.0%} became wrong'
        return text


@dataclass(frozen=True)
class View:
    """An image as a model with embeddings sees it.

    Attributes:
        name: of the image.
        image: (H, W, 3) uint8 RGB, of the network's input size.
        embeddings: (D, h, w) float32.
        plain: (H, W) uint8, the labels without the filter.
        filtered: the labels with it.
        truth: the true labels, UNLABELLED where they are not known.
        change: from plain to filtered, counted at the size that the image had.
    """

    name: str
    image: UInt8Array
    embeddings: Float32Array
    plain: UInt8Array
    filtered: UInt8Array
    truth: UInt8Array
    change: LabelChanges


@dataclass(frozen=True)
class EmbeddedModel:
    """A model with embeddings.

    Attributes:
        model: its file.
        quantization: level that it computes in.
        frames: gives scores and embeddings.
        device: that it runs on.
        embedding_metadata: its embeddings.
        filter: that they drive.
    """

    model: Model
    quantization: str
    frames: FrameNetwork
    device: torch.device
    embedding_metadata: EmbeddingMetadata
    filter: EmbeddingFilter

    @classmethod
    def load(cls, name: str, quantization: str, device: str) -> 'EmbeddedModel':
        """Read a model file.

        Raises:
            ModelFileError: the file cannot be used.
            ParameterError: its filter's window is larger than its embeddings, or its input no multiple of
                their stride.
            UnavailableError: it has no embeddings, or no classes; or the level or the device cannot be had.
        """
        model = load_model(name)
        embedding_metadata = model.metadata.embeddings
        label_filter = load_filter(model, model.metadata.input_size)
        if embedding_metadata is None or not len(model.metadata.classes):
            raise UnavailableError(f'model {model.path} has no classes, so its embeddings filter nothing')
        level, where = choose_quantization(model, quantization), choose_device(device)
        frames = frame_network(model, level, with_embeddings=True).to(where)
        return cls(model, level, frames, where, embedding_metadata, label_filter)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input, in pixels."""
        return self.model.metadata.input_size

    def look(self, name: str, image: UInt8Array, truth: UInt8Array | None) -> View:
        """Segment an image, without the filter and with it.

        Args:
            name: of the image.
            image: (H, W, 3) uint8 RGB of any size.
            truth: (H, W) uint8, its true labels; None where they are not known.
        """
        resized = np.array(resize_image(image, *self.size))
        with torch.no_grad():
            answers = self.frames(torch.from_numpy(resized)[None].to(self.device))
            scores, embeddings = answers['scores'][0], answers['embeddings'][0]
            filtered_scores = self.filter(scores, embeddings)
        if truth is None:
            truth = np.full(image.shape[:2], UNLABELLED, np.uint8)
        plain, filtered = (argmax_labels(s, *truth.shape).labels for s in (scores, filtered_scores))
        change = LabelChanges.between(plain, filtered, truth)
        plain, filtered, truth = (nearest(labels, self.size) for labels in (plain, filtered, truth))
        return View(name, resized, embeddings.cpu().numpy(), plain, filtered, truth, change)

    def as_json(self) -> dict[str, Any]:
        """The model, its embeddings and their filter."""
        return {
            'path': str(self.model.path),
            'digest': self.model.digest,
            'quantization': self.quantization,
            'dimensions': self.embedding_metadata.dimensions,
            'stride': self.embedding_metadata.stride,
            'taps': list(self.embedding_metadata.taps),
            'window': self.filter.window,
            'iterations': self.filter.iterations,
            'hardness': self.filter.hardness,
        }

    def as_facts(self) -> dict[str, str]:
        """The same for people."""
        embedding_metadata, window, hardness = (
            self.embedding_metadata,
            self.filter.window,
            self.filter.hardness,
        )
        side = window * embedding_metadata.stride
        return {
            'model': f'{self.model.path.name}, {self.model.metadata.architecture}, {self.quantization}',
            'embeddings': f'{embedding_metadata.dimensions} numbers at every {embedding_metadata.stride}th '
            f'pixel each way, from {", ".join(["the image", *embedding_metadata.taps])}',
            'filter': f'{window} x {window} embeddings, which is {side} x {side} pixels; '
            f'{self.filter.iterations} times',
            'hardness': f'{hardness:.3g}: a pixel counts half at a distance of {math.log(2) / hardness:.2f}',
        }


def nearest(labels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """(H, W) uint8 labels at another size (height, width), each pixel's from the middle of where it lies."""
    resized = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)
