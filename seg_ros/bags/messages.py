"""Messages of a bag in their serialized form (CDR), the bytes that nodes exchange."""

import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from seg_ros.arrays import UInt8Array, UInt16Array
from seg_ros.errors import BagError
from seg_ros.resources import resource

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: Name with its leading slash.
        type: Message type in the long form, e.g. 'sensor_msgs/msg/Image'.
        n_messages: Number of messages, 1 or more.
    """

    name: str
    type: str
    n_messages: int


@dataclass(frozen=True)
class Message:
    """A message of a bag.

    Attributes:
        topic: Topic on which it was published.
        type: Message type in the long form.
        received_ns: Time at which it was recorded, in ns.
        cdr: Serialized message.
    """

    topic: str
    type: str
    received_ns: int
    cdr: bytes

    @property
    def stamp_ns(self) -> int:
        """Stamp of its header in ns."""
        return stamp_ns(self.cdr)

    def decode(self) -> Any:
        """The message as an object with the fields of its type; arrays are NumPy's.

        Raises:
            BagError: The bytes are not a message of this type.
        """
        try:
            return message_types().deserialize_cdr(self.cdr, self.type)
        except Exception as err:  # rosbags raises whatever its generated code meets
            raise BagError(
                f'a message of {len(self.cdr)} bytes on {self.topic} is not a {self.type}: {err!r}; '
                'the bag is damaged'
            ) from err


def stamp_ns(cdr: bytes) -> int:
    """Stamp in ns of a serialized message that begins with a header.

    Raises:
        BagError: The message is too short for a header.
    """
    try:
        seconds, nanoseconds = struct.unpack_from('<iI' if cdr[1] & 1 else '>iI', cdr, 4)
    except (struct.error, IndexError) as err:
        raise BagError(
            f'a message of {len(cdr)} bytes is too short for a header; the bag is damaged'
        ) from err
    return cast(int, seconds * 1_000_000_000 + nanoseconds)


def numbered(messages: Iterable[Message]) -> Iterator[tuple[tuple[int, int], Message]]:
    """Messages with a key that is the same on all topics of a frame.

    If frames share a stamp, such as 0, that is true only if none of them is missing on a topic.

    Yields:
        (stamp in ns, number of earlier messages with the same stamp), message.
    """
    seen: Counter[int] = Counter()
    for message in messages:
        stamp = message.stamp_ns
        yield (stamp, seen[stamp]), message
        seen[stamp] += 1


def image_cdr(image: UInt8Array | UInt16Array, stamp_ns: int, frame_id: str) -> bytes:
    """Serialized ``sensor_msgs/Image``; see :meth:`BagWriter.write_image` for the arguments."""
    types = message_types()
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    time = types.types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=nanoseconds)
    message = types.types[IMAGE](
        header=types.types['std_msgs/msg/Header'](stamp=time, frame_id=frame_id),
        height=image.shape[0],
        width=image.shape[1],
        encoding='rgb8' if image.ndim == 3 else 'mono8' if image.dtype == np.uint8 else '16UC1',
        is_bigendian=int(sys.byteorder == 'big'),
        step=image[0].nbytes,
        data=np.ascontiguousarray(image).reshape(-1).view(np.uint8),
    )
    return bytes(types.serialize_cdr(message, IMAGE))


@cache
def message_types(package: str = 'seg_ros') -> Any:
    """Type store of rosbags with the messages of seg_ros, and of an installed package that rosbags lacks."""
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
    """Folder of the ``.msg`` files of a package, which may not exist."""
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package)) / 'msg'
    except (ImportError, LookupError, OSError):
        return Path(package) / 'msg'
