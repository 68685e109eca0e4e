"""Decompression of chunks, messages and files, with bounded sizes; compression of chunks."""

import shutil
import sys
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]

from seg_ros.errors import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # rosbags brings it

Bytes = bytes | memoryview

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
MAX_BYTES = 2**30
"""Largest size of a chunk or a message in memory."""

_MAX_RATIO = 1000
_ALWAYS_ALLOWED = 64 * 2**20
_BLOCK = 2**20
_DISK_RESERVE = 2**30


def largest_size(n_compressed: int) -> int:
    """Largest size in bytes that this number of compressed bytes may have after decompression."""
    return min(MAX_BYTES, _ALWAYS_ALLOWED + _MAX_RATIO * n_compressed)


def decompress(data: Bytes, compression: str, size: int) -> Bytes:
    """Decompress a chunk.

    Args:
        data: Compressed bytes.
        compression: 'zstd', 'lz4', or '' = not compressed.
        size: Size after decompression, as the file declares it.

    Raises:
        BagError: The declared size is too large or wrong, the format is unknown, or the bytes are damaged.
    """
    if size > largest_size(len(data)):
        raise BagError(
            f'{len(data)} bytes declare a size of {size}; at most {largest_size(len(data))} is read'
        )
    if compression == '' and len(data) == size:
        return data
    found, problem = decompress_prefix(data, compression, size, len(data))
    if problem or len(found) != size:
        raise BagError(problem or f'{len(found)} bytes after decompression; expected {size}')
    return found


def compress(data: bytes, compression: str) -> bytes:
    """Compress a chunk.

    Args:
        data: Bytes to compress.
        compression: 'zstd', or '' = leave them as they are.
    """
    return zstd.compress(data) if compression == 'zstd' else data


def decompress_prefix(data: Bytes, compression: str, size: int, piece_size: int = 2**16) -> tuple[bytes, str]:
    """Decompress as much as possible, at most one byte more than ``size``.

    Args:
        data: Compressed bytes.
        compression: 'zstd', 'lz4', or '' = not compressed.
        size: Size after decompression.
        piece_size: Number of bytes in each step. Bytes of a damaged step are lost.

    Returns:
        The bytes before the damage, and the problem; '' = none.

    Raises:
        BagError: The format is unknown.
    """
    if compression == '':
        return bytes(data[: size + 1]), ''
    if compression not in ('zstd', 'lz4'):
        raise BagError(f"unknown compression '{compression}'; expected zstd or lz4")
    parts: list[bytes] = []
    n_left, decompressor = min(size, MAX_BYTES) + 1, _decompressor(compression)
    position = 0
    try:
        while n_left > 0:
            piece = data[position : position + piece_size]
            position += len(piece)
            found = decompressor.decompress(piece, max_length=n_left)
            parts.append(found)
            n_left -= len(found)
            if decompressor.eof:
                rest = decompressor.unused_data or b''
                if not rest and position >= len(data):
                    break
                data, position, decompressor = rest + bytes(data[position:]), 0, _decompressor(compression)
            elif not piece and not found:
                break
    except (zstd.ZstdError, RuntimeError, ValueError, EOFError, MemoryError) as err:
        return b''.join(parts), f'{compression} data is damaged: {err}'
    return b''.join(parts), ''


def decompress_message(data: bytes) -> bytes:
    """Decompress a message that the recorder compressed by itself.

    Raises:
        BagError: The message is damaged, or too large.
    """
    limit = largest_size(len(data))
    found, problem = decompress_prefix(data, 'zstd', limit, len(data))
    if problem or len(found) > limit:
        raise BagError(problem or f'a message of {len(data)} bytes has more than {limit} after decompression')
    return found


def decompress_file(path: Path, target: Path) -> str:
    """Decompress a file that the recorder compressed as a whole.

    Args:
        path: Path of the compressed file.
        target: Path of the file to write.

    Returns:
        The problem that ended the decompression early; '' = none.

    Raises:
        BagError: The file would be too large, or the disk is full.
        OSError: A file cannot be read or written.
    """
    limit = _ALWAYS_ALLOWED + _MAX_RATIO * path.stat().st_size
    limit = min(limit, shutil.disk_usage(target.parent).free - _DISK_RESERVE)
    n_bytes = 0
    with target.open('wb') as output:
        try:
            with zstd.open(path, 'rb') as file:
                while block := file.read(_BLOCK):
                    n_bytes += len(block)
                    if n_bytes > limit:
                        raise BagError(f'{path} has more than {max(limit, 0)} bytes after decompression')
                    output.write(block)
        except (zstd.ZstdError, EOFError) as err:
            return f'zstd data is damaged: {err}'
    return ''


def _decompressor(compression: str) -> Any:
    return zstd.ZstdDecompressor() if compression == 'zstd' else lz4.frame.LZ4FrameDecompressor()
