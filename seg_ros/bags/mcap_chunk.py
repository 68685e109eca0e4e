"""Chunks of an MCAP file: decompression, checksum and the messages in them."""

import zlib
from collections.abc import Container, Iterator
from typing import BinaryIO

from seg_ros.bags.decompress import MAX_BYTES, decompress, decompress_prefix
from seg_ros.bags.mcap_format import (
    CHUNK,
    CHUNK_HEADER,
    MESSAGE,
    MESSAGE_HEADER,
    MESSAGE_INDEX,
    RECORD,
    Chunk,
    Fields,
    read_message_index,
)
from seg_ros.errors import BagError

Entry = tuple[int, int, int, int]
"""A message in a chunk: time of recording in ns, channel, positions of its first byte and after its last."""


def chunk_content(record: bytes) -> memoryview:
    """Records inside a chunk.

    Args:
        record: Record of the chunk, with opcode and length.

    Raises:
        BagError: The chunk is damaged, its checksum differs, or it is too large.
    """
    size, crc, compression, data = _split(record)
    content = decompress(data, compression, size)
    if crc and zlib.crc32(content) != crc:
        raise BagError('the checksum of the chunk differs')
    return memoryview(content)


def cut_chunk_content(record: bytes) -> memoryview:
    """Records inside a chunk as far as a cut has left them; nothing if not even its header is left."""
    try:
        size, _, compression, data = _split(record)
        return memoryview(decompress_prefix(data, compression, size)[0])
    except BagError:
        return memoryview(b'')


def is_cut(record: bytes) -> bool:
    """Whether a record is longer than the bytes that are left of it."""
    return len(record) < RECORD.size or RECORD.unpack_from(record)[1] > len(record) - RECORD.size


def has_checksum(record: bytes) -> bool:
    """Whether a chunk carries a checksum."""
    return bool(_split(record)[1])


def entries_of(content: memoryview, wanted: Container[int] | None = None) -> tuple[list[Entry], str]:
    """Messages in the content of a chunk, in the order of the file.

    Args:
        content: Records.
        wanted: Ids of the channels to return; None = all.

    Returns:
        The messages, and the problem that ended the list early; '' = none.
    """
    found: list[Entry] = []
    position, size = 0, len(content)
    unpack_record, unpack_message = RECORD.unpack_from, MESSAGE_HEADER.unpack_from
    while position + 9 <= size:
        opcode, length = unpack_record(content, position)
        position += 9
        if length > size - position or not opcode:
            return found, f'a record of {length} bytes in a chunk has {size - position} bytes'
        if opcode == MESSAGE:
            if length < 22:
                return found, f'the record of a message has {length} bytes; expected 22 or more'
            channel, _, log_ns, _ = unpack_message(content, position)
            if wanted is None or channel in wanted:
                found.append((log_ns, channel, position + 22, position + length))
        position += length
    return (
        found,
        '' if position == size else f'a chunk ends with {size - position} bytes that are not a record',
    )


def records_of(content: memoryview) -> Iterator[tuple[int, bytes]]:
    """Opcode and body of the records that are not messages; it ends where the content is damaged."""
    position = 0
    while position + RECORD.size <= len(content):
        opcode, length = RECORD.unpack_from(content, position)
        position += RECORD.size
        if length > len(content) - position:
            return
        if opcode != MESSAGE:
            yield opcode, bytes(content[position : position + length])
        position += length


def read_record(file: BinaryIO, chunk: Chunk) -> bytes:
    """The bytes of a chunk record, or of a run of messages; fewer if the file ends.

    Raises:
        BagError: The chunk is too large.
    """
    if chunk.length > MAX_BYTES:
        raise BagError(f'a chunk of {chunk.length} bytes; at most {MAX_BYTES} are read')
    file.seek(chunk.offset)
    return file.read(chunk.length)


def indexed_counts(file: BinaryIO, position: int) -> dict[int, int]:
    """Number of messages of each channel by the message indexes that follow a chunk; empty if there are none.

    Args:
        file: The file.
        position: Position after the chunk.
    """
    counts: dict[int, int] = {}
    file.seek(position)
    while len(head := file.read(RECORD.size)) == RECORD.size:
        opcode, length = RECORD.unpack(head)
        if opcode != MESSAGE_INDEX or length < 6:
            break
        try:
            channel, n_messages = read_message_index(file.read(6))
        except BagError:
            break
        if 16 * n_messages + 6 != length:
            break
        counts[channel] = n_messages
        file.seek(length - 6, 1)
    return counts


def _split(record: bytes) -> tuple[int, int, str, memoryview]:
    """Size after decompression, checksum, compression and data of a chunk record."""
    if len(record) < RECORD.size or RECORD.unpack_from(record)[0] != CHUNK:
        raise BagError('there is no chunk where the index has one')
    fields = Fields(record)
    fields.take(RECORD)
    _, _, size, crc = fields.take(CHUNK_HEADER)
    compression, n_bytes = fields.text(), fields.number64()
    start = fields.position
    if n_bytes > len(record) - start and not is_cut(record):
        raise BagError(f'a chunk declares {n_bytes} bytes of data, but has {len(record) - start}')
    return size, crc, compression, memoryview(record)[start : start + n_bytes]
