"""Writing bags: single MCAP files, which rosbags, ``mcap`` and ``ros2 bag`` read."""

import shutil
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer

from seg_ros.arrays import UInt8Array
from seg_ros.bags.messages import IMAGE, image_cdr, message_types
from seg_ros.errors import BagError

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


class BagWriter:
    """Writes an MCAP file; a context manager. Until it is closed, the bag is in the folder ``<path>.part``.

    Args:
        path: Path of the file.
        overwrite: Whether an existing file may be replaced.
        keep_unfinished: Whether an error inside the context leaves a readable bag instead of no bag.

    Raises:
        BagError: The file exists already, or cannot be written.
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
            topic: Topic with its leading slash.
            type: Message type in the long form; its definition is written into the bag.
            cdr: Serialized message.
            received_ns: Time at which it was received, in ns.
            latched: Whether players publish the topic latched. Only the first message of a topic decides.

        Raises:
            BagError: The message type is not installed.
        """
        if topic not in self._connections:
            profiles = [_LATCHED] if latched else []
            types = message_types(type.partition('/')[0])
            if type not in types.fielddefs:
                raise BagError(
                    f'message type {type} is unknown, so {topic} cannot be recorded; install its package'
                )
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
            topic: Topic with its leading slash.
            image: (H, W, 3) uint8, written as rgb8, or (H, W) uint8, written as mono8.
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
        """Write the index and move the bag to its path."""
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
