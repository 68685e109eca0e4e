"""Bags, without ROS: messages are read and written as the bytes (CDR) that travel between nodes.

Read are rosbag2 folders and single ``.mcap`` and ``.db3`` files, of every distribution and compression that
rosbags knows; written are single MCAP files, which rosbags, ``mcap`` and ``ros2 bag`` read.
"""

import heapq
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from seg_ros.errors import BagError
from seg_ros.resources import resource
from seg_ros.types import UInt8Array

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # rosbags brings it

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'

_FILE_SUFFIXES = ('.mcap', '.db3')
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_FOREVER = QosTime(2147483647, 4294967295)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: with its leading slash.
        type: in the long form, e.g. 'sensor_msgs/msg/Image'.
        n_messages: 1 or more.
    """

    name: str
    type: str
    n_messages: int


@dataclass(frozen=True)
class Message:
    """A message of a bag.

    Attributes:
        topic: where it was published.
        type: in the long form.
        received_ns: when it was recorded.
        cdr: its bytes.
    """

    topic: str
    type: str
    received_ns: int
    cdr: bytes

    @property
    def stamp_ns(self) -> int:
        """Of its header."""
        return stamp_ns(self.cdr)

    def decode(self) -> Any:
        """The message as an object with the fields of its type; arrays are NumPy's.

        Raises:
            BagError: the bytes are not those of such a message.
        """
        try:
            return message_types().deserialize_cdr(self.cdr, self.type)
        except Exception as err:  # rosbags raises whatever its generated code meets
            raise BagError(
                f'a message of {len(self.cdr)} bytes on {self.topic} is no {self.type}: {err!r}; '
                'the bag is damaged'
            ) from err


class BagReader:
    """A bag to read, open from the start; a context manager.

    Args:
        path: a bag folder, with or without its metadata.yaml, or one ``.mcap`` or ``.db3`` file.

    Raises:
        BagError: there is no such bag, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            self._readers = [self._stack.enter_context(Reader(part)) for part in _parts(path)]
        except BagError:
            raise
        except Exception as err:  # what rosbags meets in a damaged file has many names
            self.close()
            raise BagError(
                f'bag {path} cannot be read: {err or repr(err)} If its recorder was killed, '
                '"mcap recover" or "ros2 bag reindex" may save it'
            ) from err

    @property
    def topics(self) -> list[Topic]:
        """Those that have messages, by name."""
        counts: Counter[tuple[str, str]] = Counter()
        for reader in self._readers:
            for connection in reader.connections:
                counts[connection.topic, _long_name(connection.msgtype)] += connection.msgcount
        return [Topic(*key, n_messages=count) for key, count in sorted(counts.items()) if count]

    def messages(self, *topics: str) -> Iterator[Message]:
        """The messages of these topics, or of all, in the order in which they were recorded.

        Raises:
            BagError: the bag is damaged; the messages before that place have been given.
        """
        streams = [reader.messages(wanted) for reader in self._readers if (wanted := _chosen(reader, topics))]
        try:
            for connection, received_ns, cdr in heapq.merge(*streams, key=lambda found: found[1]):
                yield Message(connection.topic, _long_name(connection.msgtype), received_ns, _unpacked(cdr))
        except Exception as err:
            raise BagError(
                f'bag {self.path} is damaged, the messages before that could be read: {err!r}'
            ) from err

    def image_topic(self, name: str | None = None) -> Topic:
        """The one image topic, or the one of that name.

        Raises:
            BagError: there is none, or there are several; the message lists them.
        """
        images = [topic for topic in self.topics if topic.type in (IMAGE, COMPRESSED_IMAGE)]
        listing = ', '.join(f'{t.name} ({t.type.rpartition("/")[2]}, {t.n_messages})' for t in images)
        if not images:
            others = ', '.join(f'{t.name} ({t.type})' for t in self.topics)
            raise BagError(f'bag {self.path} has no image topic; it has {others or "no messages at all"}')
        if name is not None:
            images = [topic for topic in images if topic.name == '/' + name.lstrip('/')]
            if not images:
                raise BagError(f"bag {self.path} has no images on '{name}'; it has them on {listing}")
        if len(images) > 1:
            raise BagError(f'bag {self.path} has several image topics; choose one with --topic: {listing}')
        return images[0]

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def __enter__(self) -> 'BagReader':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BagWriter:
    """An MCAP file to write; a context manager. Until it is closed the bag grows in a folder ``<path>.part``.

    Args:
        path: of the file.
        overwrite: whether a file that is already there may be replaced.
        keep_unfinished: whether to leave a readable bag, instead of none, when an error passes through.

    Raises:
        BagError: there is such a file, or it cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, keep_unfinished: bool = False) -> None:
        if path.is_dir() or (path.exists() and not overwrite):
            raise BagError(f'{path} exists already; choose another name, or --overwrite')
        self.path = path
        self._folder = path.with_name(path.name + '.part')
        self._connections: dict[str, Connection] = {}
        self._is_wanted, self._keep_unfinished = True, keep_unfinished
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = Writer(self._folder, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        except OSError as err:
            raise BagError(f'{path} cannot be written: {err}; choose another place') from err

    def write(self, topic: str, type: str, cdr: bytes, received_ns: int, *, latched: bool = False) -> None:
        """Append a message.

        Args:
            topic: with its leading slash.
            type: in the long form; its definition goes into the bag.
            cdr: the message's bytes.
            received_ns: when it was received.
            latched: whether the topic is to be played back latched; counts at its first message.

        Raises:
            BagError: the type is not known here.
        """
        if topic not in self._connections:
            profiles = [_LATCHED] if latched else []
            types = message_types(type.partition('/')[0])
            if type not in types.fielddefs:
                raise BagError(f'message type {type} is not known here, so {topic} cannot be recorded')
            self._connections[topic] = self._writer.add_connection(
                topic, type, typestore=types, offered_qos_profiles=profiles
            )
        self._writer.write(self._connections[topic], received_ns, cdr)

    def write_image(
        self,
        topic: str,
        image: UInt8Array,
        stamp_ns: int,
        *,
        frame_id: str = 'camera',
        received_ns: int | None = None,
    ) -> None:
        """Append a ``sensor_msgs/Image``.

        Args:
            topic: with its leading slash.
            image: (H, W, 3) uint8, written as rgb8, or (H, W) uint8, written as mono8.
            stamp_ns: of its header.
            frame_id: of its header.
            received_ns: when it was received; None = at its stamp.
        """
        received_ns = stamp_ns if received_ns is None else received_ns
        self.write(topic, IMAGE, image_cdr(image, stamp_ns, frame_id), received_ns)

    def discard(self) -> None:
        """Leave no bag when it is closed, and one of that name that is already there as it is."""
        self._is_wanted = False

    def close(self) -> None:
        """Write the index and put the bag in its place."""
        self._writer.close()
        (file,) = self._folder.glob('*.mcap')
        if self._is_wanted:
            file.replace(self.path)
        shutil.rmtree(self._folder)

    def __enter__(self) -> 'BagWriter':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if err is not None and not self._keep_unfinished:
            self.discard()
        self.close()


def stamp_ns(cdr: bytes) -> int:
    """The stamp of a message that begins with a header.

    Raises:
        BagError: it is too short for that.
    """
    try:
        seconds, nanoseconds = struct.unpack_from('<iI' if cdr[1] & 1 else '>iI', cdr, 4)
    except (struct.error, IndexError) as err:
        raise BagError(
            f'a message of {len(cdr)} bytes is too short for a header; the bag is damaged'
        ) from err
    return cast(int, seconds * 1_000_000_000 + nanoseconds)


def numbered(messages: Iterable[Message]) -> Iterator[tuple[tuple[int, int], Message]]:
    """Messages with a key that finds those of one frame on several topics.

    Yields:
        (stamp in ns, how many before it had the same stamp), message.
    """
    seen: Counter[int] = Counter()
    for message in messages:
        stamp = message.stamp_ns
        yield (stamp, seen[stamp]), message
        seen[stamp] += 1


def image_cdr(image: UInt8Array, stamp_ns: int, frame_id: str) -> bytes:
    """A ``sensor_msgs/Image`` as bytes; see :meth:`BagWriter.write_image`."""
    types = message_types()
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = types.types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    message = types.types[IMAGE](
        header=types.types['std_msgs/msg/Header'](stamp=time, frame_id=frame_id),
        height=image.shape[0],
        width=image.shape[1],
        encoding='mono8' if image.ndim == 2 else 'rgb8',
        is_bigendian=0,
        step=image[0].nbytes,
        data=np.ascontiguousarray(image).reshape(-1),
    )
    return bytes(types.serialize_cdr(message, IMAGE))


@cache
def message_types(package: str = 'seg_ros') -> Any:
    """The type store of rosbags with our own messages, and those of an installed package that it lacks."""
    store = get_typestore(Stores.LATEST)
    folders = {'seg_ros': resource('msg')}
    if not any(name.startswith(f'{package}/') for name in [*store.fielddefs, 'seg_ros/']):
        folders = {package: _installed_messages(package), **folders}
    for owner, folder in folders.items():
        types: dict[str, Any] = {}
        for path in folder.glob('*.msg'):
            types.update(get_types_from_msg(path.read_text(), f'{owner}/msg/{path.stem}'))
        store.register(types)
    return store


def _installed_messages(package: str) -> Path:
    """The folder of a package's ``.msg`` files, which may not exist."""
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package)) / 'msg'
    except (ImportError, LookupError, OSError):
        return Path(package) / 'msg'


def _parts(path: Path) -> list[Path]:
    """What rosbags can open: the path itself, or the files of a bag folder that lacks its metadata.yaml."""
    if path.is_file() and path.suffix not in _FILE_SUFFIXES:
        raise BagError(f'{path} is no bag; expected a bag folder, or a file that ends in .mcap or .db3')
    if path.is_file() or (path / 'metadata.yaml').is_file():
        return [path]
    if not path.exists():
        raise BagError(f'there is no bag {path}; expected a bag folder, or a .mcap or .db3 file')
    files = sorted(file for file in path.iterdir() if file.suffix in _FILE_SUFFIXES)
    if not files:
        raise BagError(f'folder {path} is no bag; expected metadata.yaml, or .mcap or .db3 files in it')
    return files


def _chosen(reader: Reader, topics: tuple[str, ...]) -> list[Connection]:
    return [connection for connection in reader.connections if not topics or connection.topic in topics]


def _unpacked(cdr: bytes | memoryview) -> bytes:
    """The message, which a bag folder's metadata.yaml calls compressed; without it only the bytes tell."""
    cdr = bytes(cdr)
    return zstd.decompress(cdr) if cdr.startswith(_ZSTD_MAGIC) else cdr


def _long_name(type_name: str) -> str:
    """'pkg/msg/Type', also where the first distributions wrote 'pkg/Type'."""
    package, _, name = type_name.partition('/')
    return type_name if '/' in name else f'{package}/msg/{name}'
