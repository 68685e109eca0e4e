"""Index of an MCAP file: its channels, and the places of its messages.

The summary at the end of the file gives it at once. The summary is absent or damaged if a recorder was killed
or a copy was cut. Then the file is read once from its start, up to the place where it ends.
"""

import contextlib
import os
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seg_ros.bags.losses import LossRecord
from seg_ros.bags.mcap_chunk import (
    chunk_content,
    cut_chunk_content,
    entries_of,
    indexed_counts,
    is_cut,
    read_record,
    records_of,
)
from seg_ros.bags.mcap_format import (
    ATTACHMENT,
    CHANNEL,
    CHUNK,
    CHUNK_INDEX,
    DATA_END,
    FOOTER,
    FOOTER_BODY,
    HEADER,
    MAGIC,
    MESSAGE,
    MESSAGE_HEADER,
    MESSAGE_INDEX,
    METADATA,
    RECORD,
    SCHEMA,
    STATISTICS,
    Channel,
    Channels,
    Chunk,
    read_chunk_index,
    read_statistics,
)
from seg_ros.errors import BagError

_RUN_BYTES = 4 * 2**20
_MAX_SUMMARY = 2**30
_MAX_SMALL_RECORD = 2**24
_FOOTER_SIZE, _DATA_END_SIZE = RECORD.size + FOOTER_BODY.size, RECORD.size + 4
_DATA_RECORDS = (SCHEMA, CHANNEL, MESSAGE, ATTACHMENT, CHUNK, METADATA)
_FIRST_PRIVATE = 0x80
"""First opcode of the records of applications, which may stand anywhere."""


@dataclass(frozen=True)
class McapIndex:
    """Index of an MCAP file.

    Attributes:
        channels: Channels by id.
        chunks: Places of the messages, in the order of the file.
        counts: Number of messages of each channel.
        data_end: Position of the record that ends the data and has their checksum; None = absent.
    """

    channels: dict[int, Channel]
    chunks: list[Chunk]
    counts: dict[int, int]
    data_end: int | None


def read_index(file: BinaryIO, path: Path, losses: LossRecord) -> McapIndex:
    """Read the index of a file.

    Args:
        file: The file.
        path: Path of the file, for messages.
        losses: Takes what is damaged.

    Raises:
        BagError: The file is not an MCAP file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    has_magic = file.read(len(MAGIC)) == MAGIC
    try:
        index = read_summary(file, size)
    except BagError as err:
        if not has_magic:
            raise BagError(
                f'{path} is not an MCAP file; it does not begin and end with the mark of one'
            ) from err
        losses.add(path, f'the index at its end is damaged or absent: {err}; it was read from its start', 0)
        index = None
    return index or Scan(file, path, size, losses).index()


def read_summary(file: BinaryIO, size: int) -> McapIndex | None:
    """Read the index from the summary at the end of a file.

    Returns:
        The index; None if the file is complete, but its summary does not tell where each message is.

    Raises:
        BagError: The end of the file is absent or damaged.
    """
    summary = _summary(file, size)
    if not summary:
        return None
    channels, chunks, statistics = Channels(), list[Chunk](), None
    for opcode, body in _records(summary):
        channels.add(opcode, body)
        if opcode == CHUNK_INDEX:
            chunks.append(read_chunk_index(body))
        elif opcode == STATISTICS:
            statistics = read_statistics(body)
    if channels.problems:
        raise BagError(channels.problems[0])
    if statistics is None:
        return None
    n_messages, n_chunks, counts = statistics
    if n_messages and not (chunks and counts):
        return None
    _check_statistics(n_messages, n_chunks, counts, chunks)
    _check_places(chunks, size - len(MAGIC) - _FOOTER_SIZE - len(summary))
    by_id = channels.by_id
    used = set(counts).union(*{chunk.channels for chunk in chunks})
    if not channels.has_all_schemas or not used <= by_id.keys():
        return None
    chunks = [chunk if chunk.channels else chunk._replace(channels=frozenset(by_id)) for chunk in chunks]
    data_end = size - len(MAGIC) - _FOOTER_SIZE - len(summary) - _DATA_END_SIZE
    return McapIndex(by_id, sorted(chunks), counts, data_end)


def _summary(file: BinaryIO, size: int) -> bytes:
    """The bytes of the summary section; empty if the file has none."""
    end = size - len(MAGIC) - _FOOTER_SIZE
    if end < len(MAGIC):
        raise BagError(f'{size} bytes are too few')
    file.seek(end)
    tail = file.read()
    opcode, length = RECORD.unpack_from(tail)
    if tail[_FOOTER_SIZE:] != MAGIC or (opcode, length) != (FOOTER, FOOTER_BODY.size):
        raise BagError('it ends without a footer')
    start, _, crc = FOOTER_BODY.unpack_from(tail, RECORD.size)
    if not start:
        return b''
    if not len(MAGIC) <= start <= end or end - start > _MAX_SUMMARY:
        raise BagError(f'its summary begins at byte {start} of {size}')
    file.seek(start)
    summary = file.read(end - start)
    if crc and zlib.crc32(tail[: _FOOTER_SIZE - 4], zlib.crc32(summary)) != crc:
        raise BagError('the checksum of its summary differs')
    return summary


def _records(section: bytes) -> list[tuple[int, bytes]]:
    """Opcode and body of all records of a section."""
    found, position = [], 0
    while position < len(section):
        if position + RECORD.size > len(section):
            raise BagError('its summary ends within a record')
        opcode, length = RECORD.unpack_from(section, position)
        position += RECORD.size
        if length > len(section) - position:
            raise BagError(f'its summary ends within a record of {length} bytes')
        if opcode in (SCHEMA, CHANNEL, CHUNK_INDEX, STATISTICS):
            found.append((opcode, section[position : position + length]))
        position += length
    return found


def _check_statistics(n_messages: int, n_chunks: int, counts: dict[int, int], chunks: list[Chunk]) -> None:
    if n_chunks != len(chunks):
        raise BagError(f'its summary tells {n_chunks} chunks and has {len(chunks)}')
    if sum(counts.values()) != n_messages:
        raise BagError(f'its summary tells {n_messages} messages, but {sum(counts.values())} in its channels')


def _check_places(chunks: list[Chunk], end: int) -> None:
    """Raise if chunks overlap or lie outside the data section."""
    last = len(MAGIC)
    for chunk in sorted(chunks):
        if chunk.offset < last or chunk.length > end - chunk.offset:
            raise BagError(f'its summary has a chunk of {chunk.length} bytes at byte {chunk.offset}')
        last = chunk.offset + chunk.length


class Scan:
    """Reads a file from its start to make an index.

    Args:
        file: The file.
        path: Path of the file, for messages.
        size: Size of the file in bytes.
        losses: Takes what is damaged.
    """

    def __init__(self, file: BinaryIO, path: Path, size: int, losses: LossRecord) -> None:
        self._file, self._path, self._size, self._losses = file, path, size, losses
        self._channels, self._chunks, self._counts = Channels(), list[Chunk](), Counter[int]()
        self._run: Chunk | None = None
        self._data_end: int | None = None
        self._n_told: int | None = None
        self._n_lost: int | None = 0
        self._foreign: list[int] = []
        self._has_indexes = False

    def index(self) -> McapIndex:
        """Read the file up to its end, its summary, or the first record that is not whole."""
        position: int | None = len(MAGIC)
        while position is not None and position < self._size:
            position = self._step(position)
        if position is not None:
            self._lose(self._size, 'the file ends here without an end mark', None)
        self._end_run()
        for problem in self._channels.problems:
            self._lose(0, problem, None)
        self._compare()
        return McapIndex(self._channels.by_id, self._chunks, dict(self._counts), self._data_end)

    def _step(self, position: int) -> int | None:
        """Take the record at a position; returns the position after it, None at the end of the data."""
        self._file.seek(position)
        head = self._file.read(RECORD.size)
        if len(head) < RECORD.size:
            self._lose(position, 'the file is cut here, within the head of a record', None)
            return None
        opcode, length = RECORD.unpack(head)
        if opcode == FOOTER and length == FOOTER_BODY.size and self._take_end(position):
            return None
        if not opcode:
            self._lose(position, 'the file goes on with bytes that are not a record', None)
            return None
        end = position + RECORD.size + length
        if not self._belongs(position, opcode, length):
            self._foreign.append(position)
        if opcode != MESSAGE:
            self._end_run()
        if opcode == MESSAGE and end <= self._size:
            self._take_message(position, end)
        elif opcode == CHUNK:
            self._take_chunk(position, min(end, self._size))
        elif opcode == DATA_END and length == 4 and self._data_end is None:
            self._data_end = position
        elif length < _MAX_SMALL_RECORD:
            self._take_small(opcode, length)
        if end > self._size:
            self._lose(position, f'the file is cut here, within a record of {length} bytes', None)
            return None
        return int(end)

    def _take_end(self, position: int) -> bool:
        """Whether the end mark follows a footer; another file behind it is told."""
        self._file.seek(position + _FOOTER_SIZE)
        tail = self._file.read(2 * len(MAGIC))
        if tail[len(MAGIC) :] == MAGIC:
            problem = 'another MCAP file follows, which is not read'
            self._losses.add(self._path, f'at byte {self._file.tell()} of {self._size}: {problem}', None)
        return tail.startswith(MAGIC)

    def _belongs(self, position: int, opcode: int, length: int) -> bool:
        """Whether a record may stand where it is; a message with a damaged opcode may not, as a rule."""
        has_indexes, self._has_indexes = self._has_indexes, opcode in (CHUNK, MESSAGE_INDEX)
        if self._data_end is not None or opcode >= _FIRST_PRIVATE or opcode in _DATA_RECORDS:
            return True
        if opcode == MESSAGE_INDEX:
            return has_indexes
        return (opcode, length) == (DATA_END, 4) or (opcode, position) == (HEADER, len(MAGIC))

    def _take_small(self, opcode: int, length: int) -> None:
        """Take a channel, its type, or the number of messages that the summary tells."""
        if opcode in (SCHEMA, CHANNEL):
            self._channels.add(opcode, self._file.read(length))
        elif opcode == STATISTICS:
            with contextlib.suppress(BagError):
                self._n_told, _, _ = read_statistics(self._file.read(length))

    def _take_message(self, position: int, end: int) -> None:
        """Add a message outside chunks to the run of such messages."""
        head = self._file.read(MESSAGE_HEADER.size)
        if len(head) < MESSAGE_HEADER.size or end - position < RECORD.size + MESSAGE_HEADER.size:
            self._lose(position, 'the record of a message is too short', 1)
            return
        channel, _, log_ns, _ = MESSAGE_HEADER.unpack(head)
        self._counts[channel] += 1
        run = self._run or Chunk(position, 0, 0, log_ns, log_ns, frozenset(), is_chunk=False)
        self._run = Chunk(
            run.offset,
            end - run.offset,
            end - run.offset,
            min(run.start_ns, log_ns),
            max(run.end_ns, log_ns),
            run.channels | {channel},
            is_chunk=False,
        )
        if self._run.length > _RUN_BYTES:
            self._end_run()

    def _end_run(self) -> None:
        if self._run:
            self._chunks.append(self._run)
        self._run = None

    def _take_chunk(self, position: int, end: int) -> None:
        """Add a chunk, or as much of it as a cut has left."""
        chunk = Chunk(position, end - position, 0, 0, 0, frozenset())
        try:
            data = read_record(self._file, chunk)
            content = cut_chunk_content(data) if is_cut(data) else chunk_content(data)
        except BagError as err:
            counts = indexed_counts(self._file, end)
            self._lose(position, str(err), sum(counts.values()) if counts else None)
            return
        for opcode, body in records_of(content):
            self._channels.add(opcode, body)
            if opcode not in (SCHEMA, CHANNEL) and opcode < _FIRST_PRIVATE:
                self._foreign.append(position)
        entries, problem = entries_of(content)
        if problem and not is_cut(data):
            self._lose(position, problem, None)
        if entries:
            times = [log_ns for log_ns, *_ in entries]
            channels = Counter(channel for _, channel, *_ in entries)
            self._counts.update(channels)
            size = len(content)
            self._chunks.append(
                chunk._replace(
                    size=size, start_ns=min(times), end_ns=max(times), channels=frozenset(channels)
                )
            )

    def _compare(self) -> None:
        """Record messages without a channel, and messages that the summary tells but that were not found."""
        for key in sorted(self._counts.keys() - self._channels.by_id.keys()):
            problem = f'messages of channel {key}, whose record is missing or damaged'
            self._losses.add(self._path, problem, self._counts[key])
        if self._n_told is None:
            self._tell_foreign()
        n_told, n_found = self._n_told or 0, sum(self._counts.values())
        if self._n_lost is not None and n_found + self._n_lost < n_told:
            problem = f'{n_found} messages were found; its summary tells {n_told}'
            self._losses.add(self._path, problem, n_told - n_found - self._n_lost)

    def _tell_foreign(self) -> None:
        """Record records that do not belong to the data of a file; they may have been messages."""
        if self._foreign:
            problem = f'from here on {len(self._foreign)} records do not belong to the data'
            self._losses.add(self._path, f'at byte {self._foreign[0]} of {self._size}: {problem}', None)

    def _lose(self, position: int, problem: str, n_messages: int | None) -> None:
        if self._data_end is not None and n_messages is None:
            n_messages = 0  # the damage is behind the last message
        self._n_lost = None if None in (self._n_lost, n_messages) else (self._n_lost or 0) + (n_messages or 0)
        self._losses.add(self._path, f'at byte {position} of {self._size}: {problem}', n_messages)
