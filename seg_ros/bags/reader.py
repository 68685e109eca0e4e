"""Reading bags: rosbag2 folders and single ``.mcap`` and ``.db3`` files.

Everything that is readable is read: the part of a file before a cut, the chunks beside a damaged one, and the
ROS 2 topics beside those of other encodings. Each loss is logged as a warning and kept in `BagReader.losses`.
Messages stay serialized (CDR) until they are decoded.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType

from seg_ros.arrays import UInt8Array
from seg_ros.bags.decompress import ZSTD_MAGIC, decompress_message
from seg_ros.bags.files import open_bag
from seg_ros.bags.losses import LossRecord
from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, Message, Topic
from seg_ros.bags.ordering import BagPart, in_order
from seg_ros.bags.storage import Storage, StoredTopic
from seg_ros.errors import BagError, SegRosError
from seg_ros.images.messages import ImageReader

_OTHER_ENCODINGS = ('protobuf', 'json', 'ros1', 'cbor', 'msgpack', 'flatbuffer')
"""Encodings that MCAP registers beside that of ROS 2."""


class BagReader:
    """Reads a bag; a context manager. The constructor reads the index.

    Args:
        path: Bag folder, with or without its metadata.yaml, or a single ``.mcap`` or ``.db3`` file.

    Attributes:
        losses: Parts of the bag that could not be read so far. It is complete when all messages were read.

    Raises:
        BagError: The bag does not exist, or nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.losses = LossRecord()
        self._image_readers: dict[str, ImageReader] = {}
        self._looked_at: set[str] = set()
        self._stack = ExitStack()
        try:
            self._files = open_bag(path, self.losses, self._stack)
            self._check_encodings()
        except BaseException as err:
            self.close()
            if isinstance(err, SegRosError) or not isinstance(err, Exception):
                raise
            raise BagError(f'bag {path} cannot be read: {err or repr(err)}') from err

    @property
    def topics(self) -> list[Topic]:
        """ROS 2 topics with messages, sorted by name."""
        counts: Counter[tuple[str, str]] = Counter()
        for topic in self._stored_topics():
            if not topic.other_encoding:
                counts[topic.name, _long_name(topic.type)] += topic.n_messages
        return [Topic(*key, n_messages=count) for key, count in sorted(counts.items()) if count]

    @property
    def other_encodings(self) -> dict[str, str]:
        """Topics with messages that are not those of ROS 2 -> their encoding, such as 'protobuf'."""
        return {t.name: t.other_encoding for t in self._stored_topics() if t.other_encoding and t.n_messages}

    def messages(self, *topics: str) -> Iterator[Message]:
        """Messages of the given topics, or of all ROS 2 topics, in the order of recording.

        Unreadable messages are left out and recorded in ``losses``.

        Raises:
            BagError: The bag has messages of these topics, but none of them can be read.
        """
        n_read = 0
        try:
            for message in self._messages(topics):
                n_read += 1
                yield message
        except SegRosError:
            raise
        except Exception as err:  # nothing foreign gets out
            raise BagError(
                f'bag {self.path} is damaged; the messages before the damage were read: {err!r}'
            ) from err
        if not n_read and self.losses:
            names = ', '.join(topics) or 'any topic'
            raise BagError(f'bag {self.path} has no readable message of {names}: {self.losses}')

    def image(self, message: Message) -> UInt8Array | None:
        """Image of a message, (H, W, 3) uint8 RGB; None if it cannot be read, which is recorded as a loss."""
        try:
            return self.read_image(message)
        except SegRosError as err:
            self.skip(message, err)
            return None

    def read_image(self, message: Message) -> UInt8Array:
        """Image of a message, (H, W, 3) uint8 RGB.

        Samples of 16 bits are scaled by the range that they have on the whole topic, not in one image.

        Raises:
            BagError: The message is damaged.
            ImageError: Its image cannot be read.
        """
        content = message.decode()
        reader = self._image_readers.setdefault(message.topic, ImageReader())
        image = reader.read(content)
        if not reader.bit_depth or message.topic in self._looked_at:
            return image
        self._looked_at.add(message.topic)
        self._look_at_all(message.topic, reader)
        return reader.read(content)

    def skip(self, message: Message, reason: object) -> None:
        """Record a message as unreadable.

        Args:
            message: The message.
            reason: Error that it caused.
        """
        self.losses.add(self.path, f'{message.topic} at {message.received_ns} ns: {reason}', 1)

    def image_topic(self, name: str | None = None, without: str = '') -> Topic:
        """The only image topic, or the image topic with the given name.

        If only the compressed images of a camera were recorded, the name of its raw images finds them.

        Args:
            name: Name of the topic; None = the only image topic.
            without: Image topic that does not count, such as one with labels.

        Raises:
            BagError: There is no such topic, or there are several; the message lists them.
        """
        images = [topic for topic in self.topics if topic.type in (IMAGE, COMPRESSED_IMAGE)]
        images = [topic for topic in images if topic.name != without]
        if not images:
            raise BagError(f'bag {self.path} has no image topic; {self._content()}')
        listing = ', '.join(f'{t.name} ({t.type.rpartition("/")[2]}, {t.n_messages})' for t in images)
        if name is not None:
            images = _named(images, '/' + name.lstrip('/'))
            if not images:
                raise BagError(f"bag {self.path} has no images on '{name}'; it has them on {listing}")
        if len(images) > 1:
            raise BagError(f'bag {self.path} has several image topics; choose one with --topic: {listing}')
        return images[0]

    def close(self) -> None:
        """Remove temporary files."""
        self._stack.close()

    def _look_at_all(self, topic: str, reader: ImageReader) -> None:
        """Let the reader see the samples of all images of a topic; what cannot be read changes nothing."""
        with suppress(SegRosError):
            for message in self.messages(topic):
                with suppress(SegRosError):
                    reader.read(message.decode())

    def _messages(self, topics: tuple[str, ...]) -> Iterator[Message]:
        """Messages of the given topics of all files."""
        sources = [
            BagPart(file.start_ns, file.end_ns, 0, partial(self._messages_of, file, wanted))
            for file in self._files
            if (wanted := _chosen(file, topics))
        ]
        for _, message in in_order(sources):
            yield message

    def _messages_of(self, file: Storage, wanted: frozenset[int]) -> Iterator[tuple[int, Message]]:
        """Times and messages of one file."""
        names = {key: (file.topics[key].name, _long_name(file.topics[key].type)) for key in wanted}
        try:
            for received_ns, key, cdr in file.messages(wanted):
                message = Message(*names[key], received_ns, cdr)
                if cdr.startswith(ZSTD_MAGIC):  # without metadata.yaml, only these bytes tell it
                    try:
                        message = Message(*names[key], received_ns, decompress_message(cdr))
                    except BagError as err:
                        self.skip(message, err)
                        continue
                yield received_ns, message
        except OSError as err:
            self.losses.add(file.path, f'it cannot be read to its end: {err}', None)

    def _stored_topics(self) -> Iterator[StoredTopic]:
        for file in self._files:
            yield from file.topics.values()

    def _check_encodings(self) -> None:
        """Raise if the bag is of ROS 1; record messages whose encoding nobody uses, so it must be damaged."""
        for file in self._files:
            for topic in file.topics.values():
                if topic.n_messages and topic.other_encoding not in ('', *_OTHER_ENCODINGS):
                    problem = f"{topic.name} ({topic.type}) has the encoding '{topic.other_encoding}'"
                    self.losses.add(file.path, problem, topic.n_messages)
        if not self.topics and 'ros1' in self.other_encodings.values():
            raise BagError(
                f'bag {self.path} holds messages of ROS 1; expected ROS 2. '
                '"rosbags-convert" makes a ROS 2 bag of the .bag file'
            )

    def _content(self) -> str:
        """Topics of the bag in words."""
        topics = ', '.join(f'{t.name} ({t.type})' for t in self.topics) or 'no messages of ROS 2'
        others = ', '.join(f'{name} ({encoding})' for name, encoding in self.other_encodings.items())
        return f'it has {topics}' + (f'; it cannot be read on {others}' if others else '')

    def __enter__(self) -> 'BagReader':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _named(images: list[Topic], name: str) -> list[Topic]:
    """The topic with a name, or else with the name of its compressed images."""
    found = [topic for topic in images if topic.name == name]
    return found or [t for t in images if t.name == f'{name}/compressed' and t.type == COMPRESSED_IMAGE]


def _chosen(file: Storage, topics: tuple[str, ...]) -> frozenset[int]:
    """Keys of the given topics of a file, or of all ROS 2 topics."""
    return frozenset(
        key
        for key, topic in file.topics.items()
        if not topic.other_encoding and topic.n_messages and (not topics or topic.name in topics)
    )


def _long_name(type_name: str) -> str:
    """Type name in the long form, 'pkg/msg/Type'; the first distributions wrote 'pkg/Type'."""
    package, _, name = type_name.partition('/')
    return type_name if '/' in name else f'{package}/msg/{name}'
