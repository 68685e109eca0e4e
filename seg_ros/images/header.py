"""Headers of image files: format, size and kind of the samples, read before anything is decoded.

The parsers also find files that end early. OpenCV fills the rest of some of them with grey.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seg_ros.errors import ImageError
from seg_ros.images import jpeg, other_formats, png, pnm
from seg_ros.images.exif import UPRIGHT

PIXEL_LIMIT = 1 << 28
"""Maximum number of pixels; a colour image of this size takes 768 MB."""


@dataclass(frozen=True)
class ImageHeader:
    """Properties of an image file.

    Attributes:
        format: 'PNG', 'JPEG', 'WebP', 'BMP', 'TIFF', or 'PNM' for PBM, PGM and PPM.
        width: Width in pixels, as stored.
        height: Height in pixels, as stored.
        bits: Number of bits of a sample.
        most: Largest possible value of a sample, as a PGM or PPM file states it; 0 = not stated.
        has_palette: Whether the samples are indices into a palette.
        is_lossy: Whether the compression changes values.
        is_float: Whether the samples are floating-point numbers.
        is_signed: Whether the samples are whole numbers with a sign.
        is_white_zero: Whether a sample of 0 is white.
        orientation: EXIF orientation, 1..8; 1 = upright.
    """

    format: str
    width: int
    height: int
    bits: int = 8
    most: int = 0
    has_palette: bool = False
    is_lossy: bool = False
    is_float: bool = False
    is_signed: bool = False
    is_white_zero: bool = False
    orientation: int = UPRIGHT


_FLAGS = ('has_palette', 'is_lossy', 'is_float', 'is_signed', 'is_white_zero')
_PARSERS: tuple[tuple[bytes, str, Callable[[bytes], dict[str, int]]], ...] = (
    (png.SIGNATURE, 'PNG', png.parse),
    (b'\xff\xd8', 'JPEG', jpeg.parse),
    (b'RIFF', 'WebP', other_formats.parse_webp),
    (b'BM', 'BMP', other_formats.parse_bmp),
    (b'II*\0', 'TIFF', other_formats.parse_tiff),
    (b'MM\0*', 'TIFF', other_formats.parse_tiff),
    (b'II+\0', 'TIFF', other_formats.parse_tiff),
    (b'MM\0+', 'TIFF', other_formats.parse_tiff),
    *((b'P%d' % n, 'PNM', pnm.parse) for n in range(1, 7)),
)


def read_header(content: bytes) -> ImageHeader:
    """Header of an image file.

    Args:
        content: Content of the whole file.

    Raises:
        ImageError: The format is unknown, the file is damaged or ends early, or the image is too large.
    """
    for signature, name, parse in _PARSERS:
        if content.startswith(signature):
            header = _parsed(content, name, parse)
            break
    else:
        raise ImageError('is not an image that seg_ros reads; expected PNG, JPEG, WebP, BMP, TIFF or PPM')
    if not (header.width > 0 and header.height > 0):
        raise ImageError(f'is a {header.format} file of {header.width} x {header.height} pixels')
    if header.width * header.height > PIXEL_LIMIT:
        raise ImageError(
            f'has {header.width} x {header.height} pixels; expected at most {PIXEL_LIMIT:,} in total'
        )
    return header


def _parsed(content: bytes, name: str, parse: Callable[[bytes], dict[str, int]]) -> ImageHeader:
    try:
        found: dict[str, Any] = dict(parse(content))
    except (LookupError, ValueError, ArithmeticError) as err:
        if isinstance(err, ImageError):
            raise
        raise ImageError(f'is a damaged {name} file') from err
    found = {key: bool(value) if key in _FLAGS else value for key, value in found.items()}
    return ImageHeader(name, **found)
