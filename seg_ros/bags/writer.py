"""Writing bags: single MCAP files with checksums, which rosbags, ``mcap`` and ``ros2 bag`` read."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from seg_ros.arrays import UInt8Array, UInt16Array
from seg_ros.bags.mcap_writer import McapWriter
from seg_ros.bags.messages import IMAGE, image_cdr, message_types
from seg_ros.errors import BagError

_FOREVER = {'sec': 2147483647, 'nsec': 4294967295}
_LATCHED = {
    'history': 'keep_last',
    'depth': 1,
    'reliability': 'reliable',
    'durability': 'transient_local',
    'deadline': _FOREVER,
    'lifespan': _FOREVER,
    'liveliness': 'automatic',
    'liveliness_lease_duration': _FOREVER,
    'avoid_ros_namespace_conventions': False,
}


class BagWriter:
    """Writes an MCAP file; a context manager. Until it is closed, the bag is in the file ``<path>.part``.

    Args:
        path: Path of the file; missing folders are made.
        overwrite: Whether an existing file may be replaced.
        keep_unfinished: Whether an error inside the context leaves a readable bag instead of no bag.
        compression: Compression of the chunks: 'zstd', or '' = none.

    Raises:
        BagError: The file exists already, or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        overwrite: bool = False,
        keep_unfinished: bool = False,
        compression: str = '',
    ) -> None:
        if path.is_dir() or (path.exists() and not overwrite):
            raise BagError(f'{path} exists already; choose another name, or --overwrite')
        self.path = path
        self._part = path.with_name(path.name + '.part')
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, tuple[int, str, list[dict[str, Any]]]] = {}
        self._counts: Counter[str] = Counter()
        self._times_ns: tuple[int, int] | None = None
        self._is_wanted, self._keep_unfinished = True, keep_unfinished
        with self._checked():
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._writer = McapWriter(self._part, compression)

    @property
    def topics(self) -> list[str]:
        """Topics with messages, in the order of their first ones."""
        return list(self._channels)

    def write(self, topic: str, type: str, cdr: bytes, received_ns: int, *, latched: bool = False) -> None:
        """Append a message.

        Args:
            topic: Topic with its leading slash.
            type: Message type in the long form; its definition is written into the bag.
            cdr: Serialized message.
            received_ns: Time at which it was received, in ns.
            latched: Whether players publish the topic latched. Only the first message of a topic decides.

        Raises:
            BagError: The message type is not installed, the time is negative or above 2^64 - 1, or the file
                cannot be written.
        """
        if not 0 <= received_ns < 2**64:
            raise BagError(f'a message on {topic} has the time {received_ns} ns; expected 0 .. 2^64 - 1')
        with self._checked():
            if topic not in self._channels:
                self._add_channel(topic, type, latched)
            self._writer.write(self._channels[topic][0], received_ns, cdr)
        self._counts[topic] += 1
        first, last = self._times_ns or (received_ns, received_ns)
        self._times_ns = min(first, received_ns), max(last, received_ns)

    def write_image(
        self,
        topic: str,
        image: UInt8Array | UInt16Array,
        stamp_ns: int,
        *,
        frame_id: str = 'camera',
        received_ns: int | None = None,
    ) -> None:
        """Append a ``sensor_msgs/Image``.

        Args:
            topic: Topic with its leading slash.
            image: (H, W, 3) uint8, written as rgb8; (H, W) uint8, as mono8; (H, W) uint16, as 16UC1.
            stamp_ns: Stamp of its header in ns.
            frame_id: Frame of its header.
            received_ns: Time at which it was received, in ns; None = its stamp.
        """
        received_ns = stamp_ns if received_ns is None else received_ns
        self.write(topic, IMAGE, image_cdr(image, stamp_ns, frame_id), received_ns)

    def discard(self) -> None:
        """Write no bag on closing; an existing file of the same name stays."""
        self._is_wanted = False

    def close(self) -> None:
        """Write the index and move the bag to its path.

        Raises:
            BagError: The file cannot be written; the messages that were written are in ``<path>.part``.
        """
        with self._checked():
            if not self._is_wanted:
                self._writer.abort()
                self._part.unlink(missing_ok=True)
                return
            self._writer.close(_yaml(self._metadata()))
            self._part.replace(self.path)

    def _add_channel(self, topic: str, type: str, latched: bool) -> None:
        """Add a topic, and its type with the definition."""
        types = message_types(type.partition('/')[0])
        if type not in types.fielddefs:
            raise BagError(
                f'message type {type} is unknown, so {topic} cannot be recorded; install its package'
            )
        if type not in self._schemas:
            definition, _ = types.generate_msgdef(type, ros_version=2)
            self._schemas[type] = self._writer.add_schema(type, definition)
        profiles = [_LATCHED] if latched else []
        qos = _yaml(profiles) if profiles else ''
        self._channels[topic] = self._writer.add_channel(self._schemas[type], topic, qos), type, profiles

    def _metadata(self) -> dict[str, Any]:
        """Metadata of the bag, as metadata.yaml of version 9 has it."""
        first, last = self._times_ns or (0, 0)
        n_messages, name = sum(self._counts.values()), self.path.name
        span = {
            'duration': {'nanoseconds': last - first},
            'starting_time': {'nanoseconds_since_epoch': first},
            'message_count': n_messages,
        }
        topics = [
            {
                'topic_metadata': {
                    'name': topic,
                    'type': kind,
                    'serialization_format': 'cdr',
                    'offered_qos_profiles': profiles,
                    'type_description_hash': message_types(kind.partition('/')[0]).hash_rihs01(kind),
                },
                'message_count': self._counts[topic],
            }
            for topic, (_, kind, profiles) in self._channels.items()
        ]
        return {
            'version': 9,
            'storage_identifier': 'mcap',
            'relative_file_paths': [name],
            **span,
            'topics_with_message_count': topics,
            'compression_format': '',
            'compression_mode': '',
            'files': [{'path': name, **span}],
            'custom_data': None,
            'ros_distro': 'seg_ros',
        }

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """Turn errors of the disk into errors about this bag."""
        try:
            yield
        except OSError as err:
            reason = err.strerror or err
            raise BagError(
                f'{self.path} cannot be written: {reason}; free some space, or choose another place'
            ) from err

    def __enter__(self) -> 'BagWriter':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if err is not None and not self._keep_unfinished:
            self.discard()
        self.close()


class _PlainDumper(yaml.SafeDumper):
    """Writes every part in full, since readers may refuse aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Whether a repeated part is written again; always."""
        return True


def _yaml(content: object) -> str:
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False).strip()
