"""Image messages in their serialized form, as a raw subscription of ROS gives them.

They come from the network, so nothing in them is trusted: every field is read within the bytes that are
there, and pixels are not copied. Sources: plain CDR of DDS-XTypes 1.3 (OMG), section 7.4.3, behind the
encapsulation header of RTPS 2.5, section 10.2, and the fields of sensor_msgs in their order.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seg_ros.errors import ImageError
from seg_ros.schema import shown

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'

MAX_TEXT_BYTES = 4096
"""Maximum length of a text in a message; a frame_id goes into every result."""

MakeHeader = Callable[[int, int, str], Any]
"""Makes a header of seconds, nanoseconds and frame_id."""

_ENCAPSULATION = 4
_BYTE_ORDERS = {b'\0\0': '>', b'\0\1': '<', b'\0\6': '>', b'\0\7': '<'}
"""Byte order by representation identifier: CDR and CDR2, which are the same for fields of 4 bytes or less."""


@dataclass(frozen=True)
class ReceivedImage:
    """A ``sensor_msgs/Image``; ``data`` is a view of the serialized message."""

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True)
class ReceivedFile:
    """A ``sensor_msgs/CompressedImage``; ``data`` is a view of the serialized message."""

    header: Any
    format: str
    data: memoryview


def read_image(payload: bytes, make_header: MakeHeader) -> ReceivedImage:
    """Read a serialized ``sensor_msgs/Image``; bytes behind it are ignored.

    Args:
        payload: Serialized message with its encapsulation header.
        make_header: Makes the header of the result.

    Raises:
        ImageError: The bytes are not such a message, or a text in it is too long.
    """
    fields = _Fields(payload, IMAGE)
    return ReceivedImage(
        header=make_header(*_header(fields)),
        height=fields.number('I', 'height'),
        width=fields.number('I', 'width'),
        encoding=fields.text('encoding'),
        is_bigendian=fields.number('B', 'is_bigendian'),
        step=fields.number('I', 'step'),
        data=fields.bytes('data'),
    )


def read_compressed_image(payload: bytes, make_header: MakeHeader) -> ReceivedFile:
    """Read a serialized ``sensor_msgs/CompressedImage``; see :func:`read_image`."""
    fields = _Fields(payload, COMPRESSED_IMAGE)
    header = make_header(*_header(fields))
    return ReceivedFile(header=header, format=fields.text('format'), data=fields.bytes('data'))


def _header(fields: '_Fields') -> tuple[int, int, str]:
    return fields.number('i', 'sec'), fields.number('I', 'nanosec'), fields.text('frame_id')


class _Fields:
    """Fields of a message, read one after the other.

    Args:
        payload: Serialized message.
        type_name: Type that it should have, for errors.
    """

    def __init__(self, payload: bytes, type_name: str) -> None:
        self._payload, self._type_name = payload, type_name
        order = _BYTE_ORDERS.get(payload[:2])
        if order is None:
            raise self._error(f'it begins with {shown(payload[:2].hex())}, which is not plain CDR')
        self._order, self._place = order, _ENCAPSULATION

    def number(self, code: str, name: str) -> int:
        """Next field, a number of a format of :mod:`struct`; it is aligned to its size."""
        size = struct.calcsize(code)
        self._place += -(self._place - _ENCAPSULATION) % size
        try:
            (value,) = struct.unpack_from(self._order + code, self._payload, self._place)
        except struct.error as err:
            raise self._error(f'it ends before its field {name}') from err
        self._place += size
        return int(value)

    def text(self, name: str) -> str:
        """Next field, a text: up to its first zero byte, as everywhere in ROS."""
        content = self.bytes(name)
        if len(content) > MAX_TEXT_BYTES:
            raise self._error(f'its field {name} has {len(content)} bytes; expected {MAX_TEXT_BYTES} at most')
        return bytes(content).partition(b'\0')[0].decode('utf-8', 'replace')

    def bytes(self, name: str) -> memoryview:
        """Next field, a sequence of bytes, as a view."""
        n_bytes = self.number('I', name)
        start, self._place = self._place, self._place + n_bytes
        if self._place > len(self._payload):
            left = len(self._payload) - start
            raise self._error(f'its field {name} should have {n_bytes} bytes, but {left} are left')
        return memoryview(self._payload)[start : self._place]

    def _error(self, problem: str) -> ImageError:
        return ImageError(
            f'a message of {len(self._payload)} bytes is not a {self._type_name}: {problem}: '
            'check the publisher'
        )
