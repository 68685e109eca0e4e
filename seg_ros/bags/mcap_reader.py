"""Reads one MCAP file, whole or cut: chunks one after the other, each with its checksum."""

import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from seg_ros.bags.losses import LossRecord
from seg_ros.bags.mcap_chunk import (
    chunk_content,
    cut_chunk_content,
    entries_of,
    has_checksum,
    indexed_counts,
    is_cut,
    read_record,
)
from seg_ros.bags.mcap_format import DATA_END, RECORD, Chunk
from seg_ros.bags.mcap_index import read_index
from seg_ros.bags.ordering import BagPart, in_order
from seg_ros.bags.storage import Storage, Stored, StoredTopic
from seg_ros.errors import BagError

_BLOCK = 2**20
_UNKNOWN = 2**64
"""Stands for an unknown number of lost messages: more than any file has."""


class McapFile(Storage):
    """An MCAP file; it is open only while it is read.

    Args:
        path: Path of the file.
        losses: Takes what is damaged.

    Raises:
        BagError: The file is not an MCAP file.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, losses: LossRecord) -> None:
        self.path, self._losses = path, losses
        with path.open('rb') as file:
            self._index = read_index(file, path, losses)
        self.topics = {
            key: StoredTopic(
                channel.topic,
                channel.type,
                channel.other_encoding,
                self._index.counts.get(key, 0),
            )
            for key, channel in self._index.channels.items()
        }
        self.start_ns = min((chunk.start_ns for chunk in self._index.chunks), default=0)
        self.end_ns = max((chunk.end_ns for chunk in self._index.chunks), default=0)
        self._needs_data_check = False

    def messages(self, wanted: frozenset[int]) -> Iterator[Stored]:
        """Messages of the wanted channels in the order of their log times; damaged chunks are left out."""
        n_read: Counter[int] = Counter()
        n_lost: Counter[int] = Counter()
        with self.path.open('rb') as file:
            sources = [
                BagPart(
                    chunk.start_ns,
                    chunk.end_ns,
                    chunk.length + chunk.size,
                    partial(self._chunk, file, chunk, wanted, n_read, n_lost),
                )
                for chunk in self._index.chunks
                if chunk.channels & wanted
            ]
            yield from in_order(sources)
            self._compare(n_read, n_lost, wanted)
            self._check_data(file)

    def _chunk(
        self,
        file: BinaryIO,
        chunk: Chunk,
        wanted: frozenset[int],
        n_read: Counter[int],
        n_lost: Counter[int],
    ) -> Iterator[Stored]:
        """Messages of a chunk in the order of their log times; counts those that are read and lost."""
        try:
            content = self._content(file, chunk)
        except BagError as err:
            counts = indexed_counts(file, chunk.offset + chunk.length)
            self._lose(chunk.offset, str(err), sum(counts.values()) if counts else None)
            n_lost.update(counts or dict.fromkeys(chunk.channels, _UNKNOWN))
            return
        entries, problem = entries_of(content, wanted)
        n_read.update(map(_channel, entries))
        if problem and not self._is_last(chunk):
            self._lose(chunk.offset, problem, None)
            n_lost.update(dict.fromkeys(chunk.channels, _UNKNOWN))
        entries.sort(key=_log_ns)
        for log_ns, channel, start, end in entries:
            yield log_ns, channel, bytes(content[start:end])

    def _content(self, file: BinaryIO, chunk: Chunk) -> memoryview:
        """Records of a chunk, or of a run of messages outside chunks."""
        data = read_record(file, chunk)
        if not chunk.is_chunk:
            self._needs_data_check = True
            return memoryview(data)
        if is_cut(data) and self._is_last(chunk):
            return cut_chunk_content(data)
        self._needs_data_check |= not has_checksum(data)
        return chunk_content(data)

    def _is_last(self, chunk: Chunk) -> bool:
        """Whether a chunk reaches the end of the file, which has been cut there."""
        return chunk.offset + chunk.length == self.path.stat().st_size

    def _compare(self, n_read: Counter[int], n_lost: Counter[int], wanted: frozenset[int]) -> None:
        """Record a loss if a channel had fewer messages than the index tells."""
        for key in sorted(wanted):
            told, found = self._index.counts.get(key, 0), n_read[key]
            if found + n_lost[key] < told:
                topic = self.topics[key].name
                self._losses.add(
                    self.path,
                    f'{found} messages on {topic}; the index tells {told}',
                    told - found - n_lost[key],
                )

    def _check_data(self, file: BinaryIO) -> None:
        """Compare the checksum over all data, once, if chunks without a checksum of their own were read."""
        if not self._needs_data_check or self._index.data_end is None:
            return
        self._needs_data_check = False
        file.seek(self._index.data_end)
        tail = file.read(RECORD.size + 4)
        if len(tail) < RECORD.size + 4 or RECORD.unpack_from(tail) != (DATA_END, 4):
            return
        expected = int.from_bytes(tail[-4:], 'little')
        if expected and expected != _checksum(file, self._index.data_end):
            self._losses.add(self.path, 'the checksum of its data differs; messages may be altered', None)

    def _lose(self, position: int, problem: str, n_messages: int | None) -> None:
        self._losses.add(self.path, f'at byte {position}: {problem}', n_messages)


def _checksum(file: BinaryIO, end: int) -> int:
    """CRC of the first bytes of a file."""
    file.seek(0)
    crc = 0
    while end > 0 and (block := file.read(min(_BLOCK, end))):
        crc = zlib.crc32(block, crc)
        end -= len(block)
    return crc


_log_ns, _channel = itemgetter(0), itemgetter(1)
