"""Sizes in the headers of image files, read before anything is decoded.

A file must be complete, and may not state sizes that are a multiple of what it can hold. Only forms that all
decoders read alike are accepted: otherwise a decoder could find another size.
"""

import struct
import zlib
from collections.abc import Callable, Mapping

from seg_ros.errors import ImageError

MAX_PIXELS = 64_000_000
"""Maximum number of pixels of a compressed image; larger ones are refused before they are decoded."""

MAX_SCANS = 100
"""Maximum number of scans of a JPEG image. A progressive one has about 10; each takes time for all pixels."""

_MOST_EXPANSION = 1032  # of deflate: 258 bytes from 2 bits
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_TIFF_TYPES = {1: 'B', 3: 'H', 4: 'I'}
_MAX_TIFF_ENTRIES = 1000


def checked_size(data: memoryview, format_: str) -> tuple[int, int]:
    """Height and width that the header of an image file states.

    Args:
        data: Content of a JPEG, PNG, TIFF, WebP or BMP file.
        format_: Format by the message, for errors.

    Raises:
        ImageError: The file is of another kind, truncated or corrupt, or too large.
    """
    for signature, size_in_header in _SIGNATURES.items():
        if bytes(data[: len(signature)]) == signature:
            try:
                height, width = size_in_header(data)
            except (struct.error, IndexError, KeyError, ValueError) as err:
                if isinstance(err, ImageError):
                    raise
                raise ImageError(
                    f'compressed image is truncated after {data.nbytes} bytes, or corrupt'
                ) from err
            _check_pixels(height, width)
            return height, width
    raise ImageError(
        f'compressed image of format {format_!r:.80} has {data.nbytes} bytes and begins with '
        f'{bytes(data[:8])!r}; expected a JPEG or PNG file, or TIFF, WebP or BMP'
    )


def _check_pixels(height: int, width: int) -> None:
    if not (height >= 1 and width >= 1 and height * width <= MAX_PIXELS):
        raise ImageError(
            f'compressed image has a header for {width}x{height} pixels; expected 1 to {MAX_PIXELS} pixels: '
            'send smaller images'
        )


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    """Read the frame header of a JPEG file and check that its scans reach the end-of-image marker."""
    size = None
    offset = 2
    while True:
        prefix, marker, length = struct.unpack_from('>BBH', data, offset)
        if prefix == marker == 0xFF:  # fill byte
            offset += 1
            continue
        if prefix != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise ImageError(f'JPEG image is corrupt: no segment begins at byte {offset}')
        if marker == 0xDA:  # start of scan
            break
        if marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame, not tables or extensions
            if size is not None:
                raise ImageError('JPEG image is corrupt: it has two frame headers')
            size = struct.unpack_from('>HH', data, offset + 5)
            is_sequential, n_components = marker in (0xC0, 0xC1), data[offset + 9]
        offset += 2 + length
    if size is None:
        raise ImageError('JPEG image is corrupt: its scan comes before its frame header')
    scans = bytes(data[offset:])
    # No scan has 0xD9 after 0xFF, so these two end the last one. Padding may come after them.
    if b'\xff\xd9' not in scans:
        raise ImageError(f'JPEG image is truncated: none of its {data.nbytes} bytes ends the image')
    is_one_scan = is_sequential and data[offset + 4] == n_components  # decoders stop after it
    if not is_one_scan and scans.count(b'\xff\xda') > MAX_SCANS:
        raise ImageError(f'JPEG image has more than {MAX_SCANS} scans; expected about 10: send another file')
    return size[0], size[1]


def _png_size(data: memoryview) -> tuple[int, int]:
    """Read the header of a PNG file and check that all chunks are present and undamaged."""
    size, n_compressed = None, 0
    offset = 8
    while True:
        length, kind = struct.unpack_from('>I4s', data, offset)
        (checksum,) = struct.unpack_from('>I', data, offset + 8 + length)
        if zlib.crc32(data[offset + 4 : offset + 8 + length]) != checksum:
            raise ImageError(f'PNG image is corrupt: wrong checksum of the chunk at byte {offset}')
        if (kind == b'IHDR') != (offset == 8) or (kind == b'IHDR' and length != 13):
            raise ImageError('PNG image is corrupt: expected one header of 13 bytes, at the beginning')
        if kind == b'IHDR':
            size = struct.unpack_from('>II', data, offset + 8)
            n_bits = data[offset + 16] * _PNG_CHANNELS[data[offset + 17]]
        if kind in (b'IDAT', b'fdAT'):
            n_compressed += length
        if kind == b'IEND' and size is not None:
            _check_pixels(size[1], size[0])
            if size[0] * size[1] * n_bits > 8 * _MOST_EXPANSION * n_compressed:
                raise ImageError(f'PNG image is corrupt: {n_compressed} bytes cannot hold its pixels')
            return size[1], size[0]
        offset += 12 + length


def _tiff_size(data: memoryview) -> tuple[int, int]:
    """Read the first directory of a TIFF file, and check that its strips or tiles lie within the file.

    Source: TIFF, revision 6.0 (1992).
    """
    order = '<' if data[0] == ord('I') else '>'
    (offset,) = struct.unpack_from(f'{order}I', data, 4)
    (n_entries,) = struct.unpack_from(f'{order}H', data, offset)
    if n_entries > _MAX_TIFF_ENTRIES:
        raise ImageError(f'TIFF image is corrupt: it has {n_entries} entries')
    values: dict[int, tuple[int, ...]] = {}
    for k in range(n_entries):
        place = offset + 2 + 12 * k
        tag, kind, count = struct.unpack_from(f'{order}HHI', data, place)
        if kind in _TIFF_TYPES:
            values[tag] = _tiff_values(data, order, _TIFF_TYPES[kind], count, place + 8)
    height, width = values[257][0], values[256][0]
    _check_pixels(height, width)
    if 322 in values:
        _check_pixels(values[323][0], values[322][0])
    if values.get(277, (1,))[0] > 4 or max(values.get(258, (1,))) > 16:
        raise ImageError(
            'TIFF image has more than 4 samples a pixel, or more than 16 bits a sample: send another file'
        )
    starts, lengths = (values[273], values[279]) if 273 in values else (values[324], values[325])
    if len(starts) != len(lengths) or any(a + b > data.nbytes for a, b in zip(starts, lengths, strict=True)):
        raise ImageError(f'TIFF image is truncated after {data.nbytes} bytes, or corrupt')
    return height, width


def _tiff_values(data: memoryview, order: str, letter: str, count: int, place: int) -> tuple[int, ...]:
    """Values of a directory's entry; within it if they fit into 4 bytes."""
    size = struct.calcsize(letter)
    if count * size > 4:
        (place,) = struct.unpack_from(f'{order}I', data, place)
    if place + count * size > data.nbytes:
        raise ImageError(f'TIFF image is truncated after {data.nbytes} bytes')
    return struct.unpack_from(f'{order}{count}{letter}', data, place)


def _webp_size(data: memoryview) -> tuple[int, int]:
    """Read the header of a WebP file.

    Source: WebP container specification, and RFC 6386 and 9649 for the two kinds of bit streams.
    """
    (length,) = struct.unpack_from('<I', data, 4)
    kind = bytes(data[12:16])
    if bytes(data[8:12]) != b'WEBP' or length + 8 > data.nbytes or data.nbytes < 30:
        raise ImageError(f'WebP image is truncated after {data.nbytes} bytes, or corrupt')
    if kind == b'VP8X':
        return 1 + int.from_bytes(data[27:30], 'little'), 1 + int.from_bytes(data[24:27], 'little')
    if kind == b'VP8L':
        bits = int.from_bytes(data[21:25], 'little')
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack_from('<HH', data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _bmp_size(data: memoryview) -> tuple[int, int]:
    """Read the header of a BMP file; the height is negative if the first row is the upper one."""
    width, height = struct.unpack_from('<ii', data, 18)
    return abs(height), width


_SIGNATURES: Mapping[bytes, Callable[[memoryview], tuple[int, int]]] = {
    b'\xff\xd8\xff': _jpeg_size,
    b'\x89PNG\r\n\x1a\n': _png_size,
    b'II*\0': _tiff_size,
    b'MM\0*': _tiff_size,
    b'RIFF': _webp_size,
    b'BM': _bmp_size,
}
