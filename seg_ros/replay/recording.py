"""Reads the recording of a replay: class fractions, accuracy, contact sheet."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.bags.messages import Message, numbered
from seg_ros.bags.reader import BagReader
from seg_ros.classes import ClassSet
from seg_ros.drawing.overlay import Overlay, colourise, contact_sheet
from seg_ros.errors import BagError
from seg_ros.evaluation.figures import LabelCounter
from seg_ros.images.files import write_image
from seg_ros.images.messages import image_of
from seg_ros.inference.drops import STAGES, Drop
from seg_ros.metrics.labels import Counts, confusion_matrix
from seg_ros.replay.topics import DIAGNOSTICS, LABELS, MODEL_INFO, SEGMENTS_OVERLAY

Key = tuple[int, int]
"""Stamp of a message in ns, and its number among the messages of that stamp."""

_COLUMN_WIDTH = 480


@dataclass(frozen=True)
class NodeCounts:
    """Counts of frames in the diagnostics of a node.

    Attributes:
        n_in: Number of frames that reached the node.
        n_out: Number of frames that it published.
        dropped: Cause, a value of `Drop` -> number of frames.
    """

    n_in: int
    n_out: int
    dropped: Mapping[str, int]


class Recording:
    """A bag with images and the results of the node.

    Args:
        path: Path of the bag.
        image_topic: Topic of the images.

    Raises:
        BagError: The bag cannot be read, or it does not name the model; raised by every method.
    """

    def __init__(self, path: Path, image_topic: str) -> None:
        self.path, self.image_topic = path, image_topic

    @cached_property
    def model(self) -> dict[str, Any]:
        """Model and backend of the node, under the keys of all reports."""
        info = self._model_info
        return {
            'path': info.path,
            'digest': info.digest,
            'n_parameters': int(info.n_parameters),
            'quantization': info.quantization,
            'backend': info.backend,
            'device': info.device,
        }

    @cached_property
    def classes(self) -> ClassSet:
        """Classes of the labels."""
        return ClassSet.from_json(
            [{'id': c.id, 'name': c.name, 'colour': c.colour.tolist()} for c in self._model_info.classes]
        )

    @cached_property
    def _model_info(self) -> Any:
        for message in self._messages(MODEL_INFO):
            return message.decode()
        raise BagError(
            f'bag {self.path} has no message on {MODEL_INFO}, which names the model of the node; replay again'
        )

    def class_fractions(self) -> dict[str, float]:
        """Fraction of pixels of each class, 0..1, and of 'unlabelled' ones if there are any."""
        counter = LabelCounter(self.classes)
        for message in self._messages(LABELS):
            counter.add(_image(message)[..., 0])
        return counter.fractions()

    def confusion(self, truth_topic: str, truth: BagReader) -> Counts:
        """Compare the labels with true labels of the same stamps.

        Args:
            truth_topic: Topic of the true labels, mono8 images of class ids; 255 = void.
            truth: Bag with the true labels.

        Returns:
            (K, K + 1) int64, see seg_ros.metrics.labels.confusion_matrix.
        """
        labels = {key: _image(message)[..., 0] for key, message in numbered(self._messages(LABELS))}
        n_classes = len(self.classes)
        matrix = np.zeros((n_classes, n_classes + 1), np.int64)
        for key, message in numbered(truth.messages(truth_topic)):
            if key in labels:
                matrix += confusion_matrix(_image(message)[..., 0], labels[key], n_classes)
        return matrix

    def stage_ms(self) -> dict[str, float]:
        """Median times of the node's stages, from its last diagnostics; empty after a very short replay."""
        return {key: float(value) for key, value in self._diagnostics.items() if key in STAGES}

    def counts(self) -> NodeCounts:
        """Counts of the node, from its last diagnostics; zero after a very short replay."""
        values = self._diagnostics
        return NodeCounts(
            n_in=int(values.get('frames_in', 0)),
            n_out=int(values.get('frames_out', 0)),
            dropped={cause.value: int(values.get(f'dropped_{cause.value}', 0)) for cause in Drop},
        )

    @cached_property
    def _diagnostics(self) -> dict[str, str]:
        """Values of the node's diagnostics, each from the last message that has it."""
        found: dict[str, str] = {}
        for message in self._messages(DIAGNOSTICS):
            pairs = [pair for status in message.decode().status for pair in status.values]
            found |= {pair.key: pair.value for pair in pairs}
        return found

    def write_contact_sheet(
        self,
        path: Path,
        *,
        n_rows: int = 6,
        opacity: float = 0.5,
        truth: BagReader | None = None,
        truth_topic: str = '',
    ) -> None:
        """Draw evenly spaced frames: image, overlay, and segments and true labels if there are any.

        Args:
            path: Path of the image file.
            n_rows: Maximum number of frames.
            opacity: Opacity of the overlay, 0..1.
            truth: Bag with true labels; None = no column of true labels.
            truth_topic: Topic of the true labels.

        Raises:
            BagError: The recording has no labels.
            ImageError: The file cannot be written.
        """
        keys = self._evenly_spaced(n_rows)
        images = _pictures(self._messages(self.image_topic), keys)
        labels = _pictures(self._messages(LABELS), keys)
        segments = _pictures(self._messages(SEGMENTS_OVERLAY), keys)
        exact = _pictures(truth.messages(truth_topic), keys) if truth else {}
        overlay, rows = Overlay(self.classes), []
        for key in keys:
            # If frames with one stamp were dropped, labels and image may be of different frames.
            if key in images and images[key].shape == labels[key].shape:
                coloured = overlay(images[key], labels[key][..., 0], opacity=opacity, legend=True)
                more = [segments[key]] if key in segments else []
                more += [colourise(exact[key][..., 0], self.classes)] if key in exact else []
                rows.append([images[key], coloured, *more])
        columns = ['image', 'overlay', *(['segments'] if segments else []), *(['truth'] if truth else [])]
        write_image(path, contact_sheet(rows, columns, _COLUMN_WIDTH * len(columns)))

    def _evenly_spaced(self, n_frames: int) -> list[Key]:
        """Keys of at most ``n_frames`` labelled frames, evenly spaced."""
        keys = [key for key, _ in numbered(self._messages(LABELS))]
        if not keys:
            raise BagError(
                f'bag {self.path} has no {LABELS} to draw; replay again, or with a longer --timeout'
            )
        indices = np.linspace(0, len(keys) - 1, min(n_frames, len(keys))).round().astype(int)
        return [keys[index] for index in indices]

    def _messages(self, topic: str) -> Iterator[Message]:
        with BagReader(self.path) as bag:
            yield from bag.messages(topic)


def _pictures(messages: Iterable[Message], keys: Collection[Key]) -> dict[Key, UInt8Array]:
    """Pictures with these keys, (H, W, 3) uint8 RGB each."""
    return {key: _image(message) for key, message in numbered(messages) if key in keys}


def _image(message: Message) -> UInt8Array:
    """(H, W, 3) uint8 RGB image of a message; a label image has its ids in every channel."""
    return image_of(message.decode())
