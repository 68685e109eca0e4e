"""The records of MCAP files that bags need (https://mcap.dev/spec).

A record is an opcode (1 byte), a length (8 bytes) and a body. Every length is compared with the bytes that
exist before anything is taken out.
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from seg_ros.bags.losses import one_line
from seg_ros.errors import BagError

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(9, 16)

RECORD = struct.Struct('<BQ')
"""Opcode and length of a record."""

MESSAGE_HEADER = struct.Struct('<HIQQ')
"""Channel, sequence, log time, publish time."""

CHUNK_HEADER = struct.Struct('<QQQI')
"""First time, last time, size after decompression, CRC."""

FOOTER_BODY = struct.Struct('<QQI')
"""Start of the summary, start of the summary offsets, CRC of the summary."""

_U16, _U32, _U64 = struct.Struct('<H'), struct.Struct('<I'), struct.Struct('<Q')
_STATISTICS = struct.Struct('<QHIIIIQQ')
_CHUNK_INDEX = struct.Struct('<QQQQ')
_ROS2_SCHEMAS = ('ros2msg', 'ros2idl', 'omgidl', '')


@dataclass(frozen=True)
class Channel:
    """A channel of an MCAP file.

    Attributes:
        topic: Topic.
        type: Name of its schema.
        encoding: Encoding of its messages, 'cdr' for ROS 2.
        schema_encoding: Encoding of its schema, such as 'ros2msg'.
    """

    topic: str
    type: str
    encoding: str
    schema_encoding: str

    @property
    def other_encoding(self) -> str:
        """Encoding of its messages if they are not those of ROS 2, else ''."""
        if self.encoding == 'cdr':
            is_ros2 = self.schema_encoding in _ROS2_SCHEMAS and bool(self.type)
            return '' if is_ros2 else 'cdr of an unknown type'
        return self.encoding or 'no encoding'


class Chunk(NamedTuple):
    """Place of messages in the file: a chunk, or a run of messages outside chunks.

    Attributes:
        offset: Position of its first record in the file.
        length: Number of bytes of its records.
        size: Number of bytes after decompression.
        start_ns: Time of its earliest message.
        end_ns: Time of its latest message.
        channels: Channels of its messages; in a chunk index, empty = the file does not tell.
        is_chunk: False = a run of messages outside chunks.
    """

    offset: int
    length: int
    size: int
    start_ns: int
    end_ns: int
    channels: frozenset[int]
    is_chunk: bool = True


class Fields:
    """Reads the fields of a record one after the other.

    Args:
        body: Body of the record.
    """

    def __init__(self, body: bytes) -> None:
        self._body, self.position = body, 0

    def take(self, layout: struct.Struct) -> tuple[int, ...]:
        """Numbers of a fixed layout.

        Raises:
            BagError: The record is too short; raised by every method.
        """
        if layout.size > len(self._body) - self.position:
            raise BagError(f'a record of {len(self._body)} bytes ends within a field')
        numbers = layout.unpack_from(self._body, self.position)
        self.position += layout.size
        return numbers

    def number16(self) -> int:
        """An unsigned number of 16 bits."""
        return self.take(_U16)[0]

    def number32(self) -> int:
        """An unsigned number of 32 bits."""
        return self.take(_U32)[0]

    def number64(self) -> int:
        """An unsigned number of 64 bits."""
        return self.take(_U64)[0]

    def blob(self, size: int) -> bytes:
        """A number of bytes."""
        if size > len(self._body) - self.position:
            raise BagError(f'a record of {len(self._body)} bytes ends within a field of {size} bytes')
        self.position += size
        return self._body[self.position - size : self.position]

    def text(self) -> str:
        """A string in UTF-8, in one line of bounded length."""
        try:
            return one_line(self.blob(self.number32()).decode())
        except UnicodeDecodeError as err:
            raise BagError(f'a text is not UTF-8: {err.reason}') from err


class Channels:
    """Channels of a file, collected from its schema and channel records.

    A schema may come after its channel: a summary need not repeat it before, or at all.

    Attributes:
        problems: Records that cannot be read.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, tuple[int, str, str]] = {}

    @property
    def by_id(self) -> dict[int, Channel]:
        """Channels by their id."""
        found = {}
        for key, (schema, topic, encoding) in self._channels.items():
            name, schema_encoding = self._schemas.get(schema, ('', ''))
            found[key] = Channel(topic, name, encoding, schema_encoding)
        return found

    @property
    def has_all_schemas(self) -> bool:
        """Whether the schemas of all channels are known; 0 means that a channel has none."""
        return self._schemas.keys() | {0} >= {schema for schema, _, _ in self._channels.values()}

    def add(self, opcode: int, body: bytes) -> None:
        """Take a record; records of other kinds and repeated ones change nothing."""
        try:
            if opcode == SCHEMA:
                self._add_schema(Fields(body))
            elif opcode == CHANNEL:
                self._add_channel(Fields(body))
        except BagError as err:
            self.problems.append(f'the record of a channel or its type is damaged: {err}')

    def _add_schema(self, fields: Fields) -> None:
        key = fields.number16()
        self._schemas.setdefault(key, (fields.text(), fields.text()))

    def _add_channel(self, fields: Fields) -> None:
        key, schema = fields.number16(), fields.number16()
        self._channels.setdefault(key, (schema, fields.text(), fields.text()))


def read_statistics(body: bytes) -> tuple[int, int, dict[int, int]]:
    """Number of messages, number of chunks, and number of messages of each channel; empty = not told.

    Raises:
        BagError: The record is damaged.
    """
    fields = Fields(body)
    n_messages, _, _, _, _, n_chunks, _, _ = fields.take(_STATISTICS)
    entries = fields.blob(fields.number32())
    return n_messages, n_chunks, dict(_pairs(entries))


def read_chunk_index(body: bytes) -> Chunk:
    """Place of a chunk; its channels are empty if it has no message index.

    Raises:
        BagError: The record is damaged.
    """
    fields = Fields(body)
    start_ns, end_ns, offset, length = fields.take(_CHUNK_INDEX)
    channels = frozenset(channel for channel, _ in _pairs(fields.blob(fields.number32())))
    fields.number64()
    fields.text()
    fields.number64()
    return Chunk(offset, length, fields.number64(), start_ns, end_ns, channels)


def read_message_index(body: bytes) -> tuple[int, int]:
    """Channel of a message index, and its number of messages.

    Raises:
        BagError: The record is damaged.
    """
    fields = Fields(body)
    return fields.number16(), fields.number32() // 16


def text(value: str) -> bytes:
    """A string as MCAP stores it."""
    encoded = value.encode()
    return _U32.pack(len(encoded)) + encoded


def record(opcode: int, body: bytes) -> bytes:
    """A record with its opcode and length."""
    return RECORD.pack(opcode, len(body)) + body


def _pairs(entries: bytes) -> list[tuple[int, int]]:
    if len(entries) % 10:
        raise BagError(f'a table of {len(entries)} bytes; expected a multiple of 10')
    return list(struct.iter_unpack('<HQ', entries))
