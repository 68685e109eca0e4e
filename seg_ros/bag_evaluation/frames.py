"""Frames of an image topic of a bag: an index of all of them, and the images of any part of them.

The index is made by one pass over the bag. It fixes everything that depends on the whole bag, such as the bit
depth of a camera, so that any part of the frames can be read alone with the same result.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.sample_record import SampleRecord, has_wide_samples
from seg_ros.bags.messages import COMPRESSED_IMAGE, Message
from seg_ros.bags.reader import BagReader
from seg_ros.errors import BagError, SegRosError


@dataclass(frozen=True)
class BagProblem:
    """Messages of a bag that cannot be used.

    Attributes:
        reason: Reason, one line.
        n_messages: Number of messages; None = unknown.
    """

    reason: str
    n_messages: int | None


@dataclass(frozen=True)
class BagFrame:
    """A frame of a bag.

    Attributes:
        index: Position among the messages of the topic, from 0.
        stamp_ns: Stamp in ns, which may be zero or negative.
        received_ns: Time of recording in ns.
        frame_id: Coordinate frame of the camera.
        image: (H, W, 3) uint8 RGB; None if the message cannot be read.
        problem: Reason why it cannot be read; '' if it can.
    """

    index: int
    stamp_ns: int
    received_ns: int
    frame_id: str
    image: UInt8Array | None
    problem: str = ''

    @property
    def time_ns(self) -> int:
        """Stamp in ns; the time of recording if the stamp is zero or negative."""
        return self.stamp_ns if self.stamp_ns > 0 else self.received_ns


@dataclass(frozen=True)
class FrameIndex:
    """Frames of an image topic.

    Attributes:
        path: Path of the bag.
        topic: Name of the topic.
        type: Message type of the topic.
        encoding: Encoding of the first frame, or the format of its compressed file.
        size: (height, width) of the first readable frame in pixels; (0, 0) if none is readable.
        stamps_ns: (N,) int64, stamp of each message, which may be zero or negative.
        received_ns: (N,) int64, time of recording of each message.
        samples: Scaling of the samples of the whole topic.
        losses: Parts of the bag that cannot be read.
    """

    path: Path
    topic: str
    type: str
    encoding: str
    size: tuple[int, int]
    stamps_ns: npt.NDArray[np.int64]
    received_ns: npt.NDArray[np.int64]
    samples: SampleRecord
    losses: tuple[BagProblem, ...]

    @property
    def n_frames(self) -> int:
        """Number of messages of the topic that have a stamp."""
        return len(self.stamps_ns)

    @property
    def duration_s(self) -> float:
        """Time from the first to the last frame, in seconds."""
        return float(np.ptp(self.received_ns)) / 1e9 if self.n_frames else 0.0

    def frames(
        self, start: int = 0, stop: int | None = None, only: Collection[int] | None = None
    ) -> Iterator[BagFrame]:
        """Frames start..stop-1, in the order of the bag; unreadable ones have no image.

        Args:
            start: Position of the first frame.
            stop: Position after the last frame; None = all frames.
            only: Positions to read; the others are left out. None = all.
        """
        stop = self.n_frames if stop is None else stop
        with BagReader(self.path) as bag:
            for index, (stamp, message) in enumerate(stamped(bag, self.topic)):
                if index >= stop:
                    return
                if index >= start and (only is None or index in only):
                    yield _frame(index, stamp, message, self.samples)


def index_frames(
    path: Path,
    topic: str | None = None,
    labels_topic: str = '',
) -> FrameIndex:
    """Read a bag once and list the frames of an image topic.

    Args:
        path: Path of the bag.
        topic: Image topic; None = the only image topic.
        labels_topic: Image topic with the true labels; '' = none.

    Raises:
        BagError: The bag cannot be read, has no such topic, or no message of it has a stamp.
    """
    first = _FirstFrame()
    samples, stamps, received = SampleRecord(), list[int](), list[int]()
    with BagReader(path) as bag:
        images = bag.image_topic(topic, '/' + labels_topic.lstrip('/') if topic is None else '')
        for stamp, message in stamped(bag, images.name):
            _look(len(stamps), message, samples, first)
            stamps.append(stamp)
            received.append(message.received_ns)
        losses = tuple(BagProblem(loss.problem, loss.n_messages) for loss in bag.losses.losses)
    if not stamps:
        raise BagError(f'bag {path} has no readable message of {images.name}')
    times = np.array(stamps), np.array(received)
    return FrameIndex(path, images.name, images.type, first.encoding, first.size, *times, samples, losses)


def stamped(bag: BagReader, topic: str) -> Iterator[tuple[int, Message]]:
    """Messages of a topic with their stamps in ns.

    Messages that are too short for a stamp are recorded as losses of the bag.
    """
    for message in bag.messages(topic):
        try:
            stamp = message.stamp_ns
        except BagError as err:
            bag.skip(message, err)
            continue
        yield stamp, message


@dataclass
class _FirstFrame:
    """Encoding and size of the first readable frame."""

    encoding: str = ''
    size: tuple[int, int] = (0, 0)


def _look(index: int, message: Message, samples: SampleRecord, first: _FirstFrame) -> None:
    """Take note of the samples of a message, and of the first readable one."""
    try:
        content = message.decode()
        if first.size != (0, 0) and not has_wide_samples(content):
            return
        size = samples.look(index, content)
    except SegRosError:
        return
    if first.size == (0, 0):
        encoding = content.format if message.type == COMPRESSED_IMAGE else content.encoding
        first.encoding, first.size = str(encoding), size


def _frame(index: int, stamp_ns: int, message: Message, samples: SampleRecord) -> BagFrame:
    try:
        content = message.decode()
        image = samples.read(index, content)
    except SegRosError as err:
        return BagFrame(index, stamp_ns, message.received_ns, '', None, str(err))
    return BagFrame(index, stamp_ns, message.received_ns, str(content.header.frame_id), image)
