"""The structure of PNG files: size, palette, checksums, end (ISO/IEC 15948)."""

import zlib
from collections.abc import Iterator

from seg_ros.errors import ImageError
from seg_ros.images.exif import UPRIGHT, orientation_in

SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PALETTE_TYPE = 3
_MAX_CHUNKS = 200_000


def parse(content: bytes) -> dict[str, int]:
    """Properties of a PNG file, see seg_ros.images.header.ImageHeader.

    Raises:
        ImageError: A chunk is damaged, or the file ends early.
    """
    header, orientation = b'', UPRIGHT
    for kind, data in _chunks(content):
        if not header and kind != b'IHDR':
            raise ImageError('is a PNG file without a header')
        if kind == b'IHDR':
            header = data
        elif kind == b'eXIf':
            orientation = orientation_in(data)
    return {
        'width': int.from_bytes(header[:4], 'big'),
        'height': int.from_bytes(header[4:8], 'big'),
        'bits': header[8],
        'has_palette': header[9] == _PALETTE_TYPE,
        'orientation': orientation,
    }


def as_indices(content: bytes) -> bytes:
    """A PNG file with a palette as a grey one, whose samples are the indices."""
    parts = [SIGNATURE]
    for kind, data in _chunks(content):
        if kind == b'IHDR':
            data = data[:9] + b'\0' + data[10:]
        if kind in (b'IHDR', b'IDAT', b'IEND'):
            checksum = zlib.crc32(kind + data)
            parts += [len(data).to_bytes(4, 'big'), kind, data, checksum.to_bytes(4, 'big')]
    return b''.join(parts)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk up to the last, without damaged ones that the image does not need."""
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        length = int.from_bytes(content[position : position + 4], 'big')
        kind = content[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(content):
            raise ImageError('is a PNG file that ends early')
        is_good = zlib.crc32(memoryview(content)[position + 4 : end]) == int.from_bytes(
            content[end : end + 4], 'big'
        )
        is_needed = not kind[0] & 32
        if not is_good and is_needed:
            raise ImageError('is a damaged PNG file: a checksum is wrong')
        if is_good:
            yield kind, content[position + 8 : end]
        if kind == b'IEND':
            return
        position = end + 4
    raise ImageError(f'is a PNG file of more than {_MAX_CHUNKS:,} chunks')
