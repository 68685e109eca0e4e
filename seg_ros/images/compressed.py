"""Decoding of the files in compressed image messages, to what the encoding in their format says.

The format of image_transport is 'ENCODING; CODEC compressed TARGET', as its publisher writes it. ENCODING is
that of the raw image. TARGET is that of the pixels in the file, or empty if they are those of ENCODING. Other
publishers write the codec alone.

- Colours are in the file as in every file. TIFF is the exception: image_transport stores the channels in the
  order of ENCODING, where a reader of files expects RGB.
- Bayer mosaics are in the file as grey. With TARGET mono8 the file holds a grey image instead.
"""

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.errors import ImageError
from seg_ros.images.encodings import ENCODINGS
from seg_ros.images.file_headers import checked_size

_FORMAT = re.compile(r'\s*([^;]*?)\s*;\s*(\w*)\s*compressed\s*(\w*)', re.IGNORECASE)
_PNG = b'\x89PNG'
_DEPTH_HEADER = 12
_OF_CHANNELS = {1: ('mono8', 'mono16'), 3: ('bgr8', 'bgr16'), 4: ('bgra8', 'bgra16')}


@dataclass(frozen=True)
class Pixels:
    """Pixels of a file.

    Attributes:
        values: (H, W, C) uint8 or uint16.
        encoding: Their layout, a name in `ENCODINGS`; '16UC1' for single 16-bit values of unknown meaning.
    """

    values: npt.NDArray[Any]
    encoding: str


def decode(data: memoryview, format_: str) -> Pixels:
    """Decode a file by its content and by the format of its message.

    Args:
        data: Content of the file.
        format_: Format of the message, e.g. 'bayer_rggb8; png compressed ', or 'jpeg'.

    Raises:
        ImageError: The file is of another kind, truncated, corrupt or too large, or holds depth.
    """
    if 'compresseddepth' in format_.lower() or bytes(data[_DEPTH_HEADER:][:4]) == _PNG:
        raise ImageError(
            f'compressed image has format {format_!r:.80}, a depth image of compressedDepth; expected a JPEG '
            'or PNG file: subscribe to a colour or grey image'
        )
    size = checked_size(data, format_)
    values = _decoded(data, size)
    return Pixels(values, _layout(values, format_, is_tiff=bytes(data[:2]) in (b'II', b'MM')))


def _decoded(data: memoryview, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Pixels as they are in a file, of the (height, width) that its header states."""
    try:
        values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError) as err:
        reason = ' '.join(str(err).split())  # OpenCV's has several lines
        raise ImageError(f'compressed image of {data.nbytes} bytes cannot be decoded: {reason}') from err
    if values is None or values.shape[:2] != size or values.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f'compressed image of {data.nbytes} bytes is corrupt: its header states {size[1]}x{size[0]} '
            'pixels, but they cannot be decoded'
        )
    pixels: npt.NDArray[Any] = values.reshape(*size, -1)
    if pixels.shape[2] not in _OF_CHANNELS:
        raise ImageError(f'compressed image has {pixels.shape[2]} channels; expected 1, 3 or 4')
    return pixels


def _layout(values: npt.NDArray[Any], format_: str, *, is_tiff: bool) -> str:
    """Encoding of decoded pixels."""
    told = _FORMAT.match(format_)
    encoding, target = (told[1], told[3].lower()) if told else ('', '')
    n_channels, is_wide = values.shape[2], values.dtype == np.uint16
    known = ENCODINGS.get(encoding)
    if n_channels == 1 and known and encoding.startswith('bayer_') and not target.startswith('mono'):
        return encoding
    if is_tiff and n_channels > 1 and known and known.channels == n_channels and not target:
        return encoding
    if n_channels == 1 and is_wide and encoding not in ('mono16', 'mono8'):
        return '16UC1'
    return _OF_CHANNELS[n_channels][is_wide]
