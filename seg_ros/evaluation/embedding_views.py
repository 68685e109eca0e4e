"""Embeddings of a model, and its labels with and without the embedding filter."""

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
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.levels import choose_quantization
from seg_ros.modelfile.metadata import EmbeddingMetadata
from seg_ros.modelfile.precision import frame_network
from seg_ros.networks.frame_network import FrameNetwork


@dataclass(frozen=True)
class LabelChanges:
    """Pixels whose label the filter changed.

    Attributes:
        n_pixels: Number of pixels.
        n_changed: Number of pixels whose label changed.
        n_judged: Number of changed pixels with a known true label.
        n_right: Number of these that were wrong and became right.
        n_wrong: Number of these that were right and became wrong.
    """

    n_pixels: int = 0
    n_changed: int = 0
    n_judged: int = 0
    n_right: int = 0
    n_wrong: int = 0

    @classmethod
    def between(cls, plain: UInt8Array, filtered: UInt8Array, truth: UInt8Array) -> 'LabelChanges':
        """Compare labels, (H, W) uint8 each; the true label is unknown where ``truth`` is UNLABELLED."""
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
    def fraction(self) -> float:
        """Fraction of the pixels whose label changed, 0..1."""
        return self.n_changed / max(self.n_pixels, 1)

    @property
    def became_right(self) -> float | None:
        """Fraction of the judged pixels that became right, 0..1; None without true labels."""
        return self.n_right / self.n_judged if self.n_judged else None

    @property
    def became_wrong(self) -> float | None:
        """Fraction of the judged pixels that became wrong, 0..1; None without true labels."""
        return self.n_wrong / self.n_judged if self.n_judged else None

    def as_json(self) -> dict[str, float | None]:
        """Fractions under the keys of the JSON report."""
        return {
            'changed_share': self.fraction,
            'became_right_share': self.became_right,
            'became_wrong_share': self.became_wrong,
        }

    def as_text(self) -> str:
        """Fractions in one line."""
        text = f'{100 * self.fraction:.2f} % of pixels'
        if self.became_right is not None and self.became_wrong is not None:
            text += f'; of these {self.became_right:.0%} became right, {self.became_wrong:.0%} became wrong'
        return text


@dataclass(frozen=True)
class View:
    """An image with its embeddings and labels.

    Attributes:
        name: Name of the image.
        image: (H, W, 3) uint8 RGB, of the network's input size.
        embeddings: (D, h, w) float32.
        plain: (H, W) uint8, labels without the filter.
        filtered: (H, W) uint8, labels with the filter.
        truth: (H, W) uint8, true labels; UNLABELLED where they are unknown.
        change: Change from plain to filtered, counted at the original size of the image.
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
        model: Content of the model file.
        quantization: Level of quantization.
        frames: Network that returns scores and embeddings.
        device: Name of the device that it runs on.
        embedding_metadata: Metadata of the embeddings.
        filter: Embedding filter.
    """

    model: Model
    quantization: str
    frames: FrameNetwork
    device: str
    embedding_metadata: EmbeddingMetadata
    filter: EmbeddingFilter

    @classmethod
    def load(cls, name: str, quantization: str, device: str) -> 'EmbeddedModel':
        """Read a model file.

        Args:
            name: Path of a model file, or name of a shipped model.
            quantization: Level of quantization, or auto.
            device: auto, cpu or cuda:N.

        Raises:
            ModelFileError: The file cannot be used.
            ParameterError: The window of the filter is larger than the map of embeddings, or the input size
                is not a multiple of their stride.
            UnavailableError: The model has no embeddings or no classes, or the level or the device is not
                available.
        """
        source = ModelSource(Settings(model=name))
        model, embedding_metadata = source.model, source.served.metadata.embeddings
        label_filter = load_filter(source.served)
        if embedding_metadata is None or not len(model.metadata.classes):
            raise UnavailableError(
                f'model {model.path} has no classes, so its embeddings cannot filter labels'
            )
        level, where = choose_quantization(model, quantization), choose_device(device)
        frames = frame_network(model, level, with_embeddings=True).to(where)
        return cls(model, level, frames, where, embedding_metadata, label_filter)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input, in pixels."""
        return self.model.metadata.input_size

    def look(self, name: str, image: UInt8Array, truth: UInt8Array | None) -> View:
        """Segment an image with and without the filter.

        Args:
            name: Name of the image.
            image: (H, W, 3) uint8 RGB of any size.
            truth: (H, W) uint8, true labels; None if they are unknown.
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
        """Model, embeddings and filter under the keys of the JSON report."""
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
            'averages': self.filter.averages,
        }

    def as_facts(self) -> dict[str, str]:
        """Model, embeddings and filter as text."""
        embedding_metadata, window, hardness = (
            self.embedding_metadata,
            self.filter.window,
            self.filter.hardness,
        )
        side = window * embedding_metadata.stride
        return {
            'model': f'{self.model.path.name}, {self.model.metadata.architecture}, {self.quantization}',
            'embeddings': f'{embedding_metadata.dimensions} numbers at every {embedding_metadata.stride}th '
            f'row and column, from {", ".join(["the image", *embedding_metadata.taps])}',
            'filter': f'{window} x {window} embeddings ({side} x {side} pixels), '
            f'{self.filter.iterations} passes over {self.filter.averages}',
            'hardness': f'{hardness:.3g}: half the weight at a distance of {math.log(2) / hardness:.2f}',
        }


def nearest(labels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Resize labels, (H, W) uint8, to (height, width) with the label in the middle of each pixel."""
    resized = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)
