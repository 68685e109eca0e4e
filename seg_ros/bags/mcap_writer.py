"""Writes MCAP files as rosbag2 does, with checksums over every chunk, the data and the summary."""

import contextlib
import struct
import zlib
from collections import defaultdict
from pathlib import Path

from seg_ros.bags.decompress import compress
from seg_ros.bags.mcap_format import (
    CHANNEL,
    CHUNK,
    CHUNK_HEADER,
    CHUNK_INDEX,
    DATA_END,
    FOOTER,
    HEADER,
    MAGIC,
    MESSAGE,
    MESSAGE_HEADER,
    MESSAGE_INDEX,
    METADATA,
    METADATA_INDEX,
    RECORD,
    SCHEMA,
    STATISTICS,
    SUMMARY_OFFSET,
    record,
    text,
)

_CHUNK_BYTES = 2**20
_NEVER_NS = 2**64 - 1


class McapWriter:
    """Writes an MCAP file of the profile 'ros2'.

    Args:
        path: Path of the file, which is replaced if it exists.
        compression: Compression of the chunks: 'zstd', or '' = none.

    Raises:
        OSError: The file cannot be written; raised by every method.
    """

    def __init__(self, path: Path, compression: str = '') -> None:
        self._compression = compression
        self._file = path.open('wb')
        self._offset = self._crc = 0
        self._schemas: list[bytes] = []
        self._channels: list[bytes] = []
        self._chunk_indexes: list[bytes] = []
        self._counts: dict[int, int] = {}
        self._first_ns, self._last_ns = _NEVER_NS, 0
        self._start_chunk()
        self._put(MAGIC)
        self._put(record(HEADER, text('ros2') + text('seg_ros')))

    def add_schema(self, name: str, definition: str) -> int:
        """Add a message type with its definition in the language of .msg files; returns its id."""
        key = len(self._schemas) + 1
        body = struct.pack('<H', key) + text(name) + text('ros2msg') + text(definition)
        self._schemas.append(record(SCHEMA, body))
        self._extend(self._schemas[-1])
        return key

    def add_channel(self, schema: int, topic: str, qos_profiles: str) -> int:
        """Add a topic.

        Args:
            schema: Id of its message type.
            topic: Name of the topic.
            qos_profiles: Offered QoS profiles as YAML.

        Returns:
            Its id.
        """
        key = len(self._channels) + 1
        extra = text('offered_qos_profiles') + text(qos_profiles)
        body = struct.pack('<HH', key, schema) + text(topic) + text('cdr') + _sized(extra)
        self._channels.append(record(CHANNEL, body))
        self._counts[key] = 0
        self._extend(self._channels[-1])
        return key

    def write(self, channel: int, log_ns: int, cdr: bytes) -> None:
        """Append a message.

        Args:
            channel: Id of its topic.
            log_ns: Time in ns, 0 .. 2^64 - 1.
            cdr: Serialized message.
        """
        self._messages[channel].append((log_ns, self._chunk_size))
        head = MESSAGE_HEADER.pack(channel, 0, log_ns, log_ns)
        self._extend(RECORD.pack(MESSAGE, len(head) + len(cdr)), head, cdr)
        self._counts[channel] += 1
        self._first_ns, self._last_ns = min(log_ns, self._first_ns), max(log_ns, self._last_ns)
        if self._chunk_size > _CHUNK_BYTES:
            self._end_chunk()

    def close(self, metadata: str) -> None:
        """Write the last chunk and the summary.

        Args:
            metadata: Metadata of the bag as YAML.
        """
        try:
            if self._chunk_size:
                self._end_chunk()
            start = self._offset
            self._put(
                record(METADATA, text('rosbag2') + _sized(text('serialized_metadata') + text(metadata)))
            )
            self._metadata_index = struct.pack('<QQ', start, self._offset - start) + text('rosbag2')
            self._put(record(DATA_END, struct.pack('<I', self._crc)))
            self._write_summary()
        finally:
            self._file.close()

    def abort(self) -> None:
        """Close the file as it is; errors of a full disk do not matter any more."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _put(self, *parts: bytes) -> None:
        for part in parts:
            self._file.write(part)
            self._crc = zlib.crc32(part, self._crc)
            self._offset += len(part)

    def _start_chunk(self) -> None:
        self._chunk: list[bytes] = []
        self._chunk_size = 0
        self._messages: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)

    def _extend(self, *parts: bytes) -> None:
        """Append bytes to the chunk."""
        self._chunk += parts
        self._chunk_size += sum(map(len, parts))

    def _end_chunk(self) -> None:
        """Write the chunk and the indexes of its messages."""
        times = [log_ns for entries in self._messages.values() for log_ns, _ in entries] or [0]
        first_ns, last_ns, size, start = min(times), max(times), self._chunk_size, self._offset
        content = b''.join(self._chunk)
        head = CHUNK_HEADER.pack(first_ns, last_ns, size, zlib.crc32(content)) + text(self._compression)
        content = compress(content, self._compression)
        head += struct.pack('<Q', len(content))
        self._put(RECORD.pack(CHUNK, len(head) + len(content)), head, content)
        end, places = self._offset, b''
        for channel, entries in self._messages.items():
            places += struct.pack('<HQ', channel, self._offset)
            index = b''.join(struct.pack('<QQ', *entry) for entry in entries)
            self._put(record(MESSAGE_INDEX, struct.pack('<H', channel) + _sized(index)))
        index = struct.pack('<QQQQ', first_ns, last_ns, start, end - start) + _sized(places)
        index += struct.pack('<Q', self._offset - end) + text(self._compression)
        index += struct.pack('<QQ', len(content), size)
        self._chunk_indexes.append(record(CHUNK_INDEX, index))
        self._start_chunk()

    def _write_summary(self) -> None:
        """Write summary, footer and end mark."""
        start, self._crc = self._offset, 0
        groups = {
            SCHEMA: self._schemas,
            CHANNEL: self._channels,
            CHUNK_INDEX: self._chunk_indexes,
            METADATA_INDEX: [record(METADATA_INDEX, self._metadata_index)],
            STATISTICS: [record(STATISTICS, self._statistics())],
        }
        offsets: list[bytes] = []
        for opcode, records in groups.items():
            group = self._offset
            self._put(*records)
            if records:
                body = struct.pack('<BQQ', opcode, group, self._offset - group)
                offsets.append(record(SUMMARY_OFFSET, body))
        offsets_start = self._offset
        self._put(*offsets)
        self._put(RECORD.pack(FOOTER, 20), struct.pack('<QQ', start, offsets_start))
        self._put(struct.pack('<I', self._crc), MAGIC)

    def _statistics(self) -> bytes:
        """Body of the statistics record."""
        counts = b''.join(struct.pack('<HQ', *entry) for entry in self._counts.items())
        n_messages, first_ns = sum(self._counts.values()), min(self._first_ns, self._last_ns)
        numbers = len(self._schemas), len(self._channels), 0, 1, len(self._chunk_indexes)
        return struct.pack('<QHIIIIQQ', n_messages, *numbers, first_ns, self._last_ns) + _sized(counts)


def _sized(body: bytes) -> bytes:
    return struct.pack('<I', len(body)) + body
