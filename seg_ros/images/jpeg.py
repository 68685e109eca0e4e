"""The structure of JPEG files: size, orientation, whether all pixels are there (ITU T.81)."""

import re

from seg_ros.errors import ImageError
from seg_ros.images.exif import UPRIGHT, orientation_in

_AFTER_SCAN = re.compile(rb'\xff+[^\x00\xff\xd0-\xd7]')
"""The marker after compressed pixels, which have 00 or a restart marker after each FF."""

_EXIF = b'Exif\0\0'
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
_MAX_SEGMENTS = 100_000


def parse(content: bytes) -> dict[str, int]:
    """Properties of a JPEG file, see seg_ros.images.header.ImageHeader.

    Raises:
        ImageError: The file is damaged or ends early.
    """
    position, has_scan = 2, False
    found = {'width': 0, 'height': 0, 'is_lossy': True, 'orientation': UPRIGHT}
    for _ in range(_MAX_SEGMENTS):
        marker, position = _marker(content, position)
        if marker == _END:
            break
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(content[position : position + 2], 'big')
        segment = content[position + 2 : position + length]
        if length < 2 or position + length > len(content):
            raise _ends_early()
        position += length
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            found['height'], found['width'] = (int.from_bytes(segment[k : k + 2], 'big') for k in (1, 3))
        elif marker == _APP1 and segment.startswith(_EXIF) and found['orientation'] == UPRIGHT:
            found['orientation'] = orientation_in(segment[len(_EXIF) :])
        elif marker == _SCAN:
            has_scan = True
            match = _AFTER_SCAN.search(content, position)
            if match is None:
                raise _ends_early()
            position = match.start()
    if not has_scan:
        raise ImageError('is a JPEG file without pixels')
    return found


def _marker(content: bytes, position: int) -> tuple[int, int]:
    """Code of the marker at a position, and the position behind it."""
    if content[position : position + 1] not in (b'\xff', b''):
        raise ImageError('is a damaged JPEG file')
    while content[position : position + 1] == b'\xff':
        position += 1
    if position >= len(content):
        raise _ends_early()
    return content[position], position + 1


def _ends_early() -> ImageError:
    return ImageError('is a JPEG file that ends early')
