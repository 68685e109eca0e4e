"""What a replay recorded, read back from its bag: shares of the classes, accuracy, a contact sheet."""

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.bags.messages import Message, numbered
from seg_ros.bags.reader import BagReader
from seg_ros.classes import ClassSet
from seg_ros.drawing.overlay import Overlay, colourise, contact_sheet
from seg_ros.errors import BagError
from seg_ros.evaluation.figures import LabelCounter
from seg_ros.images.messages import image_of
from seg_ros.inference.drops import STAGES
from seg_ros.metrics.labels import Counts, confusion_matrix

LABELS, MODEL_INFO, DIAGNOSTICS = '/seg_ros/labels', '/seg_ros/model_info', '/diagnostics'
SEGMENTS_OVERLAY = '/seg_ros/segments_overlay'

Key = tuple[int, int]

_COLUMN_WIDTH = 480


class Recording:
    """A bag with images and with what the node made of them.

    Args:
        path: the bag.
        image_topic: of the images.

    Raises:
        BagError: it cannot be read, or the node did not say which model it ran.
    """

    def __init__(self, path: Path, image_topic: str) -> None:
        self.path, self.image_topic = path, image_topic

    @cached_property
    def model(self) -> dict[str, Any]:
        """What ran, under the keys that all reports share."""
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
        """What the labels mean."""
        return ClassSet.from_json(
            [{'id': c.id, 'name': c.name, 'colour': c.colour.tolist()} for c in self._model_info.classes]
        )

    @cached_property
    def _model_info(self) -> Any:
        for message in self._messages(MODEL_INFO):
            return message.decode()
        raise BagError(f'bag {self.path} has no {MODEL_INFO}: the node did not say which model it runs')

    def class_shares(self) -> dict[str, float]:
        """Share of all pixels that each class has, 0..1, and 'unlabelled' where there are such."""
        counter = LabelCounter(self.classes)
        for message in self._messages(LABELS):
            counter.add(_image(message)[..., 0])
        return counter.shares()

    def confusion(self, truth_topic: str, truth: BagReader) -> Counts:
        """Compare the labels with true ones of the same stamps.

        Args:
            truth_topic: mono8 images of class ids, 255 = void.
            truth: the bag that holds them.

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
        """What the node's last diagnostics said of its stages, medians; empty after a very short replay."""
        found: dict[str, float] = {}
        for message in self._messages(DIAGNOSTICS):
            pairs = [pair for status in message.decode().status for pair in status.values]
            found |= {pair.key: float(pair.value) for pair in pairs if pair.key in STAGES}
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
        """Draw frames picked evenly: image, overlay, segments and the true labels if there are any.

        Raises:
            BagError: there is no labelled frame, or the file cannot be written.
        """
        keys = [key for key, _ in numbered(self._messages(LABELS))]
        if not keys:
            raise BagError(f'bag {self.path} has no {LABELS} to draw')
        evenly = np.linspace(0, len(keys) - 1, min(n_rows, len(keys))).round().astype(int)
        picked = [keys[index] for index in evenly]
        images = _pictures(self._messages(self.image_topic), picked)
        labels = _pictures(self._messages(LABELS), picked)
        exact = _pictures(truth.messages(truth_topic), picked) if truth else {}
        segments = _pictures(self._messages(SEGMENTS_OVERLAY), picked)
        overlay, rows = Overlay(self.classes), []
        for key in picked:
            # Frames that share a stamp may be confused if some were dropped.
            if key in images and images[key].shape == labels[key].shape:
                coloured = overlay(images[key], labels[key][..., 0], opacity=opacity, legend=True)
                further = [segments[key]] if key in segments else []
                further += [colourise(exact[key][..., 0], self.classes)] if key in exact else []
                rows.append([images[key], coloured, *further])
        columns = ['image', 'overlay', *(['segments'] if segments else []), *(['truth'] if truth else [])]
        sheet = contact_sheet(rows, columns, _COLUMN_WIDTH * len(columns))
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise BagError(f'{path} cannot be written')

    def _messages(self, topic: str) -> Iterator[Message]:
        with BagReader(self.path) as bag:
            yield from bag.messages(topic)


def _pictures(messages: Iterable[Message], keys: Collection[Key]) -> dict[Key, UInt8Array]:
    """Those of the frames with these keys, (H, W, 3) uint8 RGB each."""
    return {key: _image(message) for key, message in numbered(messages) if key in keys}


def _image(message: Message) -> UInt8Array:
    """(H, W, 3) uint8 RGB; a label image has its ids in every channel."""
    return image_of(message.decode())
