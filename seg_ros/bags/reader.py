"""Reading bags: rosbag2 folders and single ``.mcap`` and ``.db3`` files.

It reads all distributions and compressions that rosbags knows. Messages stay serialized (CDR) until they are
decoded.
"""

import heapq
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, Message, Topic
from seg_ros.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # rosbags brings it


_FILE_SUFFIXES = ('.mcap', '.db3')
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagReader:
    """Reads a bag; a context manager. The constructor opens the bag.

    Args:
        path: Bag folder, with or without its metadata.yaml, or a single ``.mcap`` or ``.db3`` file.

    Raises:
        BagError: The bag does not exist or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = ExitStack()
        try:
            self._readers = [self._stack.enter_context(Reader(part)) for part in _parts(path)]
        except BagError:
            raise
        except Exception as err:  # rosbags raises many types for damaged files
            self.close()
            raise BagError(
                f'bag {path} cannot be read: {err or repr(err)} If its recorder was killed, '
                '"mcap recover" or "ros2 bag reindex" may save it'
            ) from err

    @property
    def topics(self) -> list[Topic]:
        """Topics with messages, sorted by name."""
        counts: Counter[tuple[str, str]] = Counter()
        for reader in self._readers:
            for connection in reader.connections:
                counts[connection.topic, _long_name(connection.msgtype)] += connection.msgcount
        return [Topic(*key, n_messages=count) for key, count in sorted(counts.items()) if count]

    def messages(self, *topics: str) -> Iterator[Message]:
        """Messages of the given topics, or of all topics, in the order of recording.

        Raises:
            BagError: The bag is damaged. The messages before the damage have been yielded.
        """
        streams = [reader.messages(wanted) for reader in self._readers if (wanted := _chosen(reader, topics))]
        try:
            for connection, received_ns, cdr in heapq.merge(*streams, key=lambda found: found[1]):
                yield Message(connection.topic, _long_name(connection.msgtype), received_ns, _unpacked(cdr))
        except Exception as err:
            raise BagError(
                f'bag {self.path} is damaged; the messages before the damage were read: {err!r}'
            ) from err

    def image_topic(self, name: str | None = None) -> Topic:
        """The only image topic, or the image topic with the given name.

        Raises:
            BagError: There is no such topic, or there are several; the message lists them.
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


def _parts(path: Path) -> list[Path]:
    """Paths that rosbags can open: the bag itself, or the files of a bag folder without metadata.yaml."""
    if path.is_file() and path.suffix not in _FILE_SUFFIXES:
        raise BagError(f'{path} is not a bag; expected a bag folder, or a file that ends in .mcap or .db3')
    if path.is_file() or (path / 'metadata.yaml').is_file():
        return [path]
    if not path.exists():
        raise BagError(f'bag {path} does not exist; expected a bag folder, or a .mcap or .db3 file')
    files = sorted(file for file in path.iterdir() if file.suffix in _FILE_SUFFIXES)
    if not files:
        raise BagError(f'folder {path} is not a bag; expected metadata.yaml, or .mcap or .db3 files in it')
    return files


def _chosen(reader: Reader, topics: tuple[str, ...]) -> list[Connection]:
    """Connections of the given topics, or all."""
    return [connection for connection in reader.connections if not topics or connection.topic in topics]


def _unpacked(cdr: bytes | memoryview) -> bytes:
    """Decompressed message. Without metadata.yaml only the first bytes show that it is compressed."""
    cdr = bytes(cdr)
    return zstd.decompress(cdr) if cdr.startswith(_ZSTD_MAGIC) else cdr


def _long_name(type_name: str) -> str:
    """Type name in the long form, 'pkg/msg/Type'; the first distributions wrote 'pkg/Type'."""
    package, _, name = type_name.partition('/')
    return type_name if '/' in name else f'{package}/msg/{name}'
