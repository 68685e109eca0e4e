"""The structure of WebP, BMP and TIFF files: size, kind of samples, and whether all pixels are there."""

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from seg_ros.errors import ImageError
from seg_ros.images.exif import UPRIGHT, orientation_in

_MAX_TAGS = 4096
_TIFF_LOSSY = (6, 7, 34712)
"""Compressions of TIFF that change values: old and new JPEG, JPEG 2000."""

_TIFF_TYPES = {1: 'u1', 3: 'u2', 4: 'u4', 16: 'u8'}
_TIFF_SIGNED, _TIFF_FLOAT, _TIFF_EXTRA_SAMPLES = 2, 3, 338
_ZERO_TAIL = 64


def parse_webp(content: bytes) -> dict[str, int]:
    """Properties of a WebP file, see seg_ros.images.header.ImageHeader.

    Raises:
        ImageError: The file is damaged or ends early.
    """
    end = 8 + int.from_bytes(content[4:8], 'little')
    if content[8:12] != b'WEBP':
        raise ImageError('is a RIFF file, but not WebP')
    # Compressed pixels do not end in zeros; files do that were not written to the disk.
    if end > len(content) or (end > 4 * _ZERO_TAIL and not any(content[end - _ZERO_TAIL : end])):
        raise ImageError('is a WebP file that ends early')
    found, position = {'width': 0, 'height': 0, 'orientation': UPRIGHT, 'is_lossy': False}, 12
    while position + 8 <= end:
        kind = content[position : position + 4]
        length = int.from_bytes(content[position + 4 : position + 8], 'little')
        data = content[position + 8 : position + 8 + length]
        if position + 8 + length > end:
            raise ImageError('is a WebP file that ends early')
        if kind in (b'VP8 ', b'VP8L', b'VP8X') and not found['width']:
            found['width'], found['height'] = _webp_size(kind, data)
        found['is_lossy'] |= kind in (b'VP8 ', b'ANMF')
        if kind == b'EXIF':
            found['orientation'] = orientation_in(data.removeprefix(b'Exif\0\0'))
        position += 8 + length + length % 2
    return found


def _webp_size(kind: bytes, data: bytes) -> tuple[int, int]:
    if kind == b'VP8X':
        return 1 + int.from_bytes(data[4:7], 'little'), 1 + int.from_bytes(data[7:10], 'little')
    if kind == b'VP8L':
        bits = int.from_bytes(data[1:5], 'little')
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[6:8], 'little') & 0x3FFF, int.from_bytes(data[8:10], 'little') & 0x3FFF


def parse_bmp(content: bytes) -> dict[str, int]:
    """Properties of a BMP file, see seg_ros.images.header.ImageHeader.

    Raises:
        ImageError: The file ends early.
    """
    try:
        start, header_size = struct.unpack_from('<II', content, 10)
        if header_size == 12:
            width, height, _, bits = struct.unpack_from('<HHHH', content, 18)
            compression = 0
        else:
            width, height, _, bits, compression = struct.unpack_from('<iiHHI', content, 18)
    except struct.error as err:
        raise ImageError('is a BMP file that ends early') from err
    n_bytes = (width * bits + 31) // 32 * 4 * abs(height)
    if compression in (0, 3) and start + n_bytes > len(content):
        raise ImageError('is a BMP file that ends early')
    return {'width': width, 'height': abs(height), 'bits': min(bits, 8), 'has_palette': bits <= 8}


def parse_tiff(content: bytes) -> dict[str, int]:
    """Properties of the first image of a TIFF file, see seg_ros.images.header.ImageHeader.

    OpenCV turns TIFF images by itself, so they are upright here.

    Raises:
        ImageError: The file is damaged or ends early, or is BigTIFF.
    """
    if content[2:4] in (b'+\0', b'\0+'):
        raise ImageError('is a BigTIFF file; save it as a TIFF file of less than 4 GB, or as PNG')
    tags = {tag: values for tag, values, _ in _tiff_entries(content)}
    for offsets, counts in ((273, 279), (324, 325)):
        starts, sizes = tags.get(offsets), tags.get(counts)
        if starts is None or sizes is None or len(starts) != len(sizes) or not len(starts):
            continue
        if (starts.astype(np.float64) + sizes.astype(np.float64)).max() > len(content):
            raise ImageError('is a TIFF file that ends early')
    one = {tag: int(values[0]) for tag, values in tags.items() if len(values)}
    return {
        'width': one.get(256, 0),
        'height': one.get(257, 0),
        'bits': one.get(258, 1),
        'has_palette': one.get(262) == 3,
        'is_lossy': one.get(259) in _TIFF_LOSSY,
        'is_float': one.get(339) == _TIFF_FLOAT,
        'is_signed': one.get(339) == _TIFF_SIGNED,
        'is_white_zero': one.get(262) == 0,
    }


def with_plain_alpha(content: bytes) -> bytes:
    """A TIFF file whose colours libtiff does not multiply by alpha: its kind of alpha becomes unspecified."""
    changed = bytearray(content)
    for tag, values, where in _tiff_entries(content):
        if tag == _TIFF_EXTRA_SAMPLES:
            changed[where : where + values.nbytes] = bytes(values.nbytes)
    return bytes(changed)


def _tiff_entries(content: bytes) -> Iterator[tuple[int, 'npt.NDArray[np.unsignedinteger]', int]]:
    """Tags of whole numbers in the first directory: tag, values, and position of the values in the file."""
    order = '<' if content[:2] == b'II' else '>'
    try:
        (start,) = struct.unpack_from(order + 'I', content, 4)
        (n_tags,) = struct.unpack_from(order + 'H', content, start)
        for number in range(min(n_tags, _MAX_TAGS)):
            at = start + 2 + 12 * number
            tag, kind, count = struct.unpack_from(order + 'HHI', content, at)
            if kind not in _TIFF_TYPES:
                continue
            dtype = np.dtype(order + _TIFF_TYPES[kind])
            is_inside = count * dtype.itemsize <= 4
            where = at + 8 if is_inside else struct.unpack_from(order + 'I', content, at + 8)[0]
            if where + count * dtype.itemsize > len(content):
                raise ImageError('is a TIFF file that ends early')
            yield tag, np.frombuffer(content, dtype, count, where), where
    except struct.error as err:
        raise ImageError('is a TIFF file that ends early') from err
