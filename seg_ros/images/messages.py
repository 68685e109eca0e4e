"""Conversion of image messages to arrays.

Inside seg_ros an image is (H, W, 3) uint8 RGB. Only the attributes of a message are used, so messages of
rclpy (``data`` is an ``array.array``) and of rosbags (``data`` is a NumPy array) both work, without ROS.

Encodings leave some questions open. The answers are:

- 16-bit samples are scaled by 1/256 and rounded down, which is their high byte (cv_bridge scales by 255/65535
  and rounds: at most 1 apart).
- 8UC1 and 16UC1 are grey; 8UC3, 16UC3 and 8UC4 are BGR and BGRA, the custom of OpenCV and cv_bridge.
- Alpha is dropped, not blended.
- YUV is BT.601 with limited range (Y 16..235), as in OpenCV.
- The chroma plane of nv12 and nv21 follows ``height`` rows of luma and has the same step; that of nv24 has
  twice the step, since its rows hold two bytes per pixel (as Video4Linux defines all three).
- Bayer images are demosaiced bilinearly; the outermost pixels repeat their neighbours.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

MAX_PIXELS = 64_000_000
"""Maximum number of pixels of a compressed image; larger ones are refused before they are decoded."""


def _as_is(plane: UInt8Array) -> UInt8Array:
    return plane


def _recoloured(code: int, plane: UInt8Array) -> UInt8Array:
    return cast(UInt8Array, cv2.cvtColor(plane, code))


def _two_planes(code: int, luma: UInt8Array, chroma: UInt8Array) -> UInt8Array:
    return cast(UInt8Array, cv2.cvtColorTwoPlane(luma, chroma, code))


def _full_chroma(luma: UInt8Array, chroma: UInt8Array) -> UInt8Array:
    # OpenCV has no limited-range 4:4:4: make each pixel a YUYV pair of two equal ones, keep the first.
    height, width = luma.shape[:2]
    u, v = cv2.split(chroma)
    yuyv = cv2.merge((luma, u, luma, v)).reshape(height, 2 * width, 2)
    rgb = cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV)
    return cast(UInt8Array, cv2.resize(rgb, (width, height), interpolation=cv2.INTER_NEAREST))


@dataclass(frozen=True)
class Encoding:
    """Memory layout of an image message, and its conversion to RGB.

    Attributes:
        channels: Samples per pixel of the first plane.
        itemsize: Bytes per sample.
        to_rgb: Function from the planes, (H, W, channels) and possibly chroma (H / rows, W / columns, 2), to
            (H, W, 3); all are uint8.
        subsampling: Rows and columns of pixels that share a chroma sample; they must divide height and width.
        has_chroma_plane: Whether a plane of interleaved chroma pairs follows the first plane.
        min_size: Smallest height and width that can be converted.
    """

    channels: int
    itemsize: int
    to_rgb: Callable[..., UInt8Array]
    subsampling: tuple[int, int] = (1, 1)
    has_chroma_plane: bool = False
    min_size: int = 1


_GREY = partial(_recoloured, cv2.COLOR_GRAY2RGB)
_BGR = partial(_recoloured, cv2.COLOR_BGR2RGB)
_BGRA = partial(_recoloured, cv2.COLOR_BGRA2RGB)
_RGBA = partial(_recoloured, cv2.COLOR_RGBA2RGB)
_UYVY = Encoding(2, 1, partial(_recoloured, cv2.COLOR_YUV2RGB_UYVY), subsampling=(1, 2))
_YUYV = Encoding(2, 1, partial(_recoloured, cv2.COLOR_YUV2RGB_YUYV), subsampling=(1, 2))

# OpenCV names a Bayer pattern after the second and third pixel of its second row, ROS after the first four.
_RGGB = partial(_recoloured, cv2.COLOR_BayerBG2RGB)
_BGGR = partial(_recoloured, cv2.COLOR_BayerRG2RGB)
_GBRG = partial(_recoloured, cv2.COLOR_BayerGR2RGB)
_GRBG = partial(_recoloured, cv2.COLOR_BayerGB2RGB)

ENCODINGS: Mapping[str, Encoding] = {
    'rgb8': Encoding(3, 1, _as_is),
    'bgr8': Encoding(3, 1, _BGR),
    'rgba8': Encoding(4, 1, _RGBA),
    'bgra8': Encoding(4, 1, _BGRA),
    'mono8': Encoding(1, 1, _GREY),
    'rgb16': Encoding(3, 2, _as_is),
    'bgr16': Encoding(3, 2, _BGR),
    'rgba16': Encoding(4, 2, _RGBA),
    'bgra16': Encoding(4, 2, _BGRA),
    'mono16': Encoding(1, 2, _GREY),
    '8UC1': Encoding(1, 1, _GREY),
    '8UC3': Encoding(3, 1, _BGR),
    '8UC4': Encoding(4, 1, _BGRA),
    '16UC1': Encoding(1, 2, _GREY),
    '16UC3': Encoding(3, 2, _BGR),
    'bayer_rggb8': Encoding(1, 1, _RGGB, min_size=3),
    'bayer_bggr8': Encoding(1, 1, _BGGR, min_size=3),
    'bayer_gbrg8': Encoding(1, 1, _GBRG, min_size=3),
    'bayer_grbg8': Encoding(1, 1, _GRBG, min_size=3),
    'bayer_rggb16': Encoding(1, 2, _RGGB, min_size=3),
    'bayer_bggr16': Encoding(1, 2, _BGGR, min_size=3),
    'bayer_gbrg16': Encoding(1, 2, _GBRG, min_size=3),
    'bayer_grbg16': Encoding(1, 2, _GRBG, min_size=3),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Encoding(1, 1, partial(_two_planes, cv2.COLOR_YUV2RGB_NV12), (2, 2), has_chroma_plane=True),
    'nv21': Encoding(1, 1, partial(_two_planes, cv2.COLOR_YUV2RGB_NV21), (2, 2), has_chroma_plane=True),
    'nv24': Encoding(1, 1, _full_chroma, has_chroma_plane=True),
}
"""Encodings that are read without cv_bridge, by their names in ``sensor_msgs/image_encodings.hpp``."""


def image_from_message(msg: 'Image') -> UInt8Array:
    """Read an image message.

    Rows may be padded (``step``), samples may have either endianness, bytes after the image are ignored. If
    an encoding is not in `ENCODINGS`, cv_bridge converts it if it is installed.

    Args:
        msg: ``sensor_msgs/Image`` of rclpy or rosbags.

    Returns:
        (H, W, 3) uint8 RGB. For ``rgb8`` it is a view of ``msg.data``: it shares its memory, is read-only if
        the data is, and has gaps between its rows if they are padded. Otherwise it is a new array.

    Raises:
        ImageError: The size, step, amount of data or encoding is invalid or not supported.
    """
    _check_amount(msg, msg.height)
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        return _image_by_cv_bridge(msg)
    _check_layout(msg, encoding)
    try:
        return encoding.to_rgb(*_planes(msg, encoding))
    except cv2.error as err:
        raise ImageError(f'{_described(msg)} cannot be converted by OpenCV: {err}') from err


def image_of(message: 'Image | CompressedImage') -> UInt8Array:
    """Read a raw or a compressed image message, (H, W, 3) uint8 RGB; its fields show which it is.

    Raises:
        ImageError: See :func:`image_from_message` and :func:`image_from_compressed`.
    """
    if hasattr(message, 'encoding'):
        return image_from_message(cast('Image', message))
    return image_from_compressed(cast('CompressedImage', message))


def image_from_compressed(msg: 'CompressedImage') -> UInt8Array:
    """Decode a compressed image message that holds a JPEG or PNG file.

    The first bytes of the file decide its format. ``msg.format`` is used only to refuse ``compressedDepth``,
    which is not a plain file. The EXIF rotation of a file is ignored, so that pixels agree with camera_info.
    A truncated file is detected, and so is any damage to a PNG. Damage within the scans of a JPEG may change
    its pixels only.

    Args:
        msg: ``sensor_msgs/CompressedImage`` of rclpy or rosbags.

    Returns:
        (H, W, 3) uint8 RGB; grey is repeated, alpha dropped, 16-bit data scaled by 1/256.

    Raises:
        ImageError: The data is empty, truncated, corrupt or has another format, or its header states more
            than `MAX_PIXELS` pixels.
    """
    if 'compresseddepth' in msg.format.lower():
        raise ImageError(
            f'compressed image has format {msg.format!r:.80}, a depth image; expected JPEG or PNG: '
            'subscribe to a colour or grey image'
        )
    data = memoryview(msg.data)
    height, width = _size_in_header(data, msg.format)
    if not 1 <= height * width <= MAX_PIXELS:
        raise ImageError(
            f'compressed image has a header for {width}x{height} pixels; expected 1 to {MAX_PIXELS} pixels: '
            'send smaller images'
        )
    return _decoded(data, (height, width))


def _described(msg: 'Image') -> str:
    """Size, encoding, step and amount of data of a message, for errors."""
    n_bytes = memoryview(msg.data).nbytes
    return f'image {msg.width}x{msg.height} {msg.encoding!r:.80} of step {msg.step} and {n_bytes} bytes'


def _check_amount(msg: 'Image', n_rows: int) -> None:
    """Refuse empty images and those with less data than ``n_rows`` rows of ``step`` bytes."""
    if msg.height < 1 or msg.width < 1:
        raise ImageError(f'{_described(msg)} is empty; expected at least one pixel: check the publisher')
    if memoryview(msg.data).nbytes < n_rows * msg.step:
        raise ImageError(
            f'{_described(msg)} is truncated; expected {n_rows} rows of {msg.step} = '
            f'{n_rows * msg.step} bytes: check the publisher'
        )


def _check_layout(msg: 'Image', encoding: Encoding) -> None:
    """Refuse sizes and steps that are invalid for the encoding, so that all views stay inside the data."""
    rows, columns = encoding.subsampling
    if msg.height % rows or msg.width % columns:
        raise ImageError(
            f'{_described(msg)}: expected a width divisible by {columns} and a height by {rows}, '
            'because these pixels share a chroma sample'
        )
    if min(msg.height, msg.width) < encoding.min_size:
        raise ImageError(
            f'{_described(msg)}: expected at least {encoding.min_size}x{encoding.min_size} pixels to demosaic'
        )
    row_bytes = msg.width * encoding.channels * encoding.itemsize
    if msg.step < row_bytes:
        raise ImageError(f'{_described(msg)}: expected a step of at least {row_bytes}: check the publisher')
    if encoding.has_chroma_plane:
        _check_amount(msg, msg.height + msg.height * 2 // (rows * columns))


def _planes(msg: 'Image', encoding: Encoding) -> list[UInt8Array]:
    """Planes of a checked message, (H, W, channels) and possibly chroma (H / rows, W / columns, 2).

    They are views, except for wider samples: their high bytes are copied into a new array.
    """
    height, width, step, itemsize = msg.height, msg.width, msg.step, encoding.itemsize
    planes: list[UInt8Array] = [
        np.ndarray(
            (height, width, encoding.channels),
            np.uint8,
            msg.data,
            offset=0 if msg.is_bigendian else itemsize - 1,
            strides=(step, encoding.channels * itemsize, itemsize),
        )
    ]
    if itemsize > 1:
        planes = [np.ascontiguousarray(planes[0])]
    if encoding.has_chroma_plane:
        rows, columns = encoding.subsampling
        shape, strides = (height // rows, width // columns, 2), (step * 2 // columns, 2, 1)
        planes.append(np.ndarray(shape, np.uint8, msg.data, offset=height * step, strides=strides))
    return planes


def _image_by_cv_bridge(msg: 'Image') -> UInt8Array:
    """Convert an encoding that is not in `ENCODINGS` by cv_bridge."""
    try:
        from cv_bridge import CvBridge

        image = np.asarray(CvBridge().imgmsg_to_cv2(msg, 'rgb8'))
    except Exception as err:  # cv_bridge, its compiled part and OpenCV raise many types
        raise ImageError(
            f'{_described(msg)} has an unknown encoding, and cv_bridge cannot convert it ({err}); '
            f'known encodings: {", ".join(ENCODINGS)}'
        ) from err
    if image.dtype != np.uint8 or image.shape != (msg.height, msg.width, 3):
        raise ImageError(
            f'cv_bridge returned {image.shape} {image.dtype} for {_described(msg)}; expected (H, W, 3) uint8'
        )
    return image


def _decoded(data: memoryview, size: tuple[int, int]) -> UInt8Array:
    """Decode a JPEG or PNG file to (H, W, 3) uint8 RGB of the (height, width) that its header states."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as err:
        raise ImageError(f'compressed image of {data.nbytes} bytes cannot be decoded: {err}') from err
    if bgr is None or bgr.shape != (*size, 3) or bgr.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f'compressed image of {data.nbytes} bytes is corrupt: its header states {size[1]}x{size[0]} '
            'pixels, but they cannot be decoded'
        )
    if bgr.dtype == np.uint16:
        bgr = (bgr >> 8).astype(np.uint8)
    return cast(UInt8Array, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _size_in_header(data: memoryview, format_: str) -> tuple[int, int]:
    """Height and width from the header of a JPEG or PNG file, which must be complete."""
    for signature, size_in_header in _SIGNATURES.items():
        if bytes(data[: len(signature)]) == signature:
            try:
                return size_in_header(data)
            except struct.error as err:
                raise ImageError(f'compressed image is truncated after {data.nbytes} bytes') from err
    raise ImageError(
        f'compressed image of format {format_!r:.80} has {data.nbytes} bytes and begins with '
        f'{bytes(data[:8])!r}; expected a JPEG or PNG file'
    )


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    """Read the frame header of a JPEG file and check that its scans reach the end-of-image marker.

    Before the first scan, only segments that all decoders read alike are accepted. Otherwise a decoder could
    find another size.
    """
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
        offset += 2 + length
    if size is None:
        raise ImageError('JPEG image is corrupt: its scan comes before its frame header')
    # No scan has 0xD9 after 0xFF, so these two end the last one. Padding may come after them.
    if b'\xff\xd9' not in bytes(data[offset:]):
        raise ImageError(f'JPEG image is truncated: none of its {data.nbytes} bytes ends the image')
    return size[0], size[1]


def _png_size(data: memoryview) -> tuple[int, int]:
    """Read the header of a PNG file and check that all chunks are present and undamaged."""
    size = None
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
        if kind == b'IEND' and size is not None:
            return size[1], size[0]
        offset += 12 + length


_SIGNATURES: Mapping[bytes, Callable[[memoryview], tuple[int, int]]] = {
    b'\xff\xd8\xff': _jpeg_size,
    b'\x89PNG\r\n\x1a\n': _png_size,
}
