"""Scaling of 16-bit images of a topic, so that a frame can be read without those before it.

A reader of a stream of images remembers the samples that it has seen: the bit depth never falls, and a narrow
band is kept for a while. So the image of a frame depends on the frames before it. Here a first pass over the
topic takes note of the scaling, and any frame can be read by it afterwards.
"""

import copy
from typing import Any

from seg_ros.arrays import UInt8Array
from seg_ros.images.encodings import ENCODINGS
from seg_ros.images.messages import ImageReader
from seg_ros.images.png import SIGNATURE
from seg_ros.images.raw import bytes_of

_PNG_BITS = 24
"""Place of the bits of a sample in a PNG file."""

_TIFF = (b'II', b'MM')


class SampleRecord:
    """Scaling of the samples of one topic: the bit depth of all frames, and the frames that are stretched."""

    def __init__(self) -> None:
        self._reader = ImageReader()
        self._depths = dict[str, int]()
        self._stretchers = dict[str, ImageReader]()
        self._stretched = set[int]()

    def look(self, index: int, content: Any) -> tuple[int, int]:
        """Take note of a frame; frames come in the order of the topic.

        Args:
            index: Position of the frame.
            content: Decoded message, raw or compressed.

        Returns:
            Height and width in pixels.

        Raises:
            ImageError: The image cannot be read.
        """
        height, width = self._reader.read(content).shape[:2]
        scaling, kind = self._reader.bit_depth, _layout(content)
        if scaling.isdecimal():
            self._depths[kind] = max(int(scaling), self._depths.get(kind, 0))
        elif scaling:
            self._stretched.add(index)
            self._stretchers.setdefault(kind, copy.deepcopy(self._reader))
        return height, width

    def read(self, index: int, content: Any) -> UInt8Array:
        """Read a frame as the whole topic demands.

        Args:
            index: Position of the frame.
            content: Decoded message, raw or compressed.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: The image cannot be read.
        """
        kind = _layout(content)
        if index in self._stretched:
            return self._stretchers[kind].read(content)
        return ImageReader().read(content, self._depths.get(kind, 0))


def has_wide_samples(content: Any) -> bool:
    """Whether the samples of a decoded message may have more than 8 bits, by its encoding or its file."""
    if hasattr(content, 'encoding'):
        encoding = ENCODINGS.get(content.encoding)
        return encoding is None or encoding.itemsize > 1
    data = bytes_of(content.data)
    head = bytes(data[: _PNG_BITS + 1])
    if head.startswith(SIGNATURE):
        return len(head) > _PNG_BITS and head[_PNG_BITS] > 8
    return head.startswith(_TIFF)


def _layout(content: Any) -> str:
    """Name of the layout of the samples, by which a reader keeps streams apart."""
    return str(content.encoding if hasattr(content, 'encoding') else content.format)
