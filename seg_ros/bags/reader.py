"""Reading bags: rosbag2 folders and single ``.mcap`` and ``.db3`` files.

Every distribution and compression that rosbags knows can be read. Messages stay bytes (CDR) until they are
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
