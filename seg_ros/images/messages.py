"""Conversion of image messages to arrays.

Inside seg_ros an image is (H, W, 3) uint8 RGB. Only the attributes of a message are used, so messages of
rclpy (``data`` is an ``array.array``) and of rosbags (``data`` is a NumPy array) both work, without ROS.

Encodings leave some questions open. The answers are:

- 16-bit samples are scaled to 8 by a shift and rounded down, see ``seg_ros.images.samples``. For samples that
  use all 16 bits the result is their high byte (cv_bridge scales by 255/65535 and rounds: at most 1 apart).
- 8UC1 and 16UC1 are grey; 8UC3, 16UC3 and 8UC4 are BGR and BGRA, the custom of OpenCV and cv_bridge.
- Alpha is dropped, not blended.
- YUV is BT.601 with limited range (Y 16..235), as in OpenCV.
- The chroma plane of nv12 and nv21 follows ``height`` rows of luma and has the same step; that of nv24 has
  twice the step, since its rows hold two bytes per pixel (as Video4Linux defines all three).
- Bayer images are demosaiced bilinearly; the outermost pixels repeat their neighbours.
"""

import re
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError
from seg_ros.images.compressed import decode
from seg_ros.images.encodings import ENCODINGS as ENCODINGS
from seg_ros.images.file_headers import MAX_PIXELS as MAX_PIXELS
from seg_ros.images.raw import bytes_of, check_amount, check_layout, check_shape, described, planes
from seg_ros.images.samples import SampleScaler

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image

_MEASURED = re.compile(r'(\d+F|\d+S)C\d+')


class ImageReader:
    """Reads the image messages of one camera, raw or compressed, and remembers the range of their samples.

    Attributes:
        warning: Warning about the last image, which was read nevertheless; empty if there is none.
        bit_depth: Bit depth of the last image in words, for diagnostics; empty for 8-bit encodings.
    """

    def __init__(self) -> None:
        self._scalers: dict[str, SampleScaler] = {}
        self.warning, self.bit_depth = '', ''

    def read(self, message: 'Image | CompressedImage', bit_depth: int = 0) -> UInt8Array:
        """Read a message; its fields show whether it is raw or compressed.

        Rows may be padded (``step``), samples may have either endianness, bytes after the image are ignored.
        If an encoding is not in `ENCODINGS`, cv_bridge converts it if it is installed.

        In a compressed message the first bytes decide about the kind of the file. ``format`` decides about
        the meaning of its pixels, see ``seg_ros.images.compressed``. The EXIF rotation of a file is ignored,
        so that pixels agree with camera_info. A truncated file is detected, and so is any damage to a PNG.
        Damage within the scans of a JPEG may change its pixels only.

        Args:
            message: ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage`` of rclpy or rosbags.
            bit_depth: Number of bits that the camera uses of 16-bit samples, 8..16; 0 = found out.

        Returns:
            (H, W, 3) uint8 RGB. For raw ``rgb8`` it is a view of ``message.data``: it shares its memory, is
            read-only if the data is, and has gaps between its rows if they are padded. Otherwise it is a new
            array.

        Raises:
            ImageError: The size, step, amount of data, encoding or file is invalid, too large or not
                supported.
        """
        self.warning, self.bit_depth = '', ''
        if hasattr(message, 'encoding'):
            return self._read_raw(message, bit_depth)
        return self._read_compressed(message, bit_depth)

    def _read_raw(self, msg: 'Image', bit_depth: int) -> UInt8Array:
        check_amount(msg, msg.height)
        encoding = ENCODINGS.get(msg.encoding)
        if encoding is None:
            return _image_by_cv_bridge(msg)
        check_layout(msg, encoding)
        found = planes(msg, encoding)
        found[0] = self._narrow(found[0], msg.encoding, bit_depth, msg.header.frame_id)
        return _to_rgb(found, msg.encoding, described(msg))

    def _read_compressed(self, msg: 'CompressedImage', bit_depth: int) -> UInt8Array:
        pixels = decode(bytes_of(msg.data), msg.format)
        height, width = pixels.values.shape[:2]
        what = f'compressed image {width}x{height} of format {msg.format!r:.80}'
        check_shape(height, width, ENCODINGS[pixels.encoding], what)
        values = self._narrow(pixels.values, pixels.encoding, bit_depth, msg.header.frame_id)
        return _to_rgb([values], pixels.encoding, what)

    def _narrow(
        self, samples: npt.NDArray[Any], encoding: str, bit_depth: int, frame_id: str
    ) -> npt.NDArray[Any]:
        """Samples of 8 bits as they are; those of 16 bits scaled to 8."""
        if samples.dtype.itemsize == 1:
            return samples
        scaler = self._scalers.setdefault(encoding, SampleScaler(encoding))
        narrow = scaler(samples, bit_depth, frame_id)
        self.warning, self.bit_depth = scaler.warning, scaler.fact
        return narrow


def image_of(message: 'Image | CompressedImage') -> UInt8Array:
    """Read a single message, raw or compressed, without memory of others; see :meth:`ImageReader.read`."""
    return ImageReader().read(message)


def image_from_message(msg: 'Image') -> UInt8Array:
    """Read a single raw message; see :meth:`ImageReader.read`."""
    return ImageReader().read(msg)


def image_from_compressed(msg: 'CompressedImage') -> UInt8Array:
    """Read a single compressed message; see :meth:`ImageReader.read`."""
    return ImageReader().read(msg)


def _to_rgb(found: list[npt.NDArray[Any]], encoding: str, what: str) -> UInt8Array:
    """Convert planes of 8 bits to RGB; ``what`` describes the image in errors."""
    try:
        return ENCODINGS[encoding].to_rgb(*found)
    except cv2.error as err:
        reason = ' '.join(str(err).split())  # it has several lines
        raise ImageError(f'{what} cannot be converted by OpenCV: {reason}') from err


def _image_by_cv_bridge(msg: 'Image') -> UInt8Array:
    """Convert an encoding that is not in `ENCODINGS` by cv_bridge."""
    if _MEASURED.fullmatch(msg.encoding):
        raise ImageError(
            f'{described(msg)} holds measured values such as depth, not brightness: subscribe to a colour or '
            f'grey image; known encodings: {", ".join(ENCODINGS)}'
        )
    try:
        from cv_bridge import CvBridge

        image = np.asarray(CvBridge().imgmsg_to_cv2(msg, 'rgb8'))
    except Exception as err:  # cv_bridge, its compiled part and OpenCV raise many types
        raise ImageError(
            f'{described(msg)} has an unknown encoding, and cv_bridge cannot convert it ({err}); '
            f'known encodings: {", ".join(ENCODINGS)}'
        ) from err
    if image.dtype != np.uint8 or image.shape != (msg.height, msg.width, 3):
        raise ImageError(
            f'cv_bridge returned {image.shape} {image.dtype} for {described(msg)}; expected (H, W, 3) uint8'
        )
    return cast(UInt8Array, image)
