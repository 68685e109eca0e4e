"""Image files: RGB in memory; PNG, JPEG, WebP, BMP, TIFF and PPM on disk.

A file is read and its header checked before OpenCV decodes it: OpenCV cannot open every name, ends the
process for some sizes, and returns half an image for some files that end early.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError, UnavailableError
from seg_ros.images import png
from seg_ros.images.exif import turned
from seg_ros.images.header import ImageHeader, read_header
from seg_ros.userfiles.reading import read_bytes, shown_path

IMAGE_SUFFIXES = ('.png', '.webp', '.jpg', '.jpeg', '.bmp', '.ppm', '.tif', '.tiff')
"""Suffixes of the files that are images, in lower case."""

_FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)  # for thin lines


FILE_LIMIT = 1 << 30
"""Maximum size of an image file in bytes."""


@dataclass(frozen=True)
class ImageFile:
    """An image file that is known to be complete, not yet decoded.

    Attributes:
        path: Path of the file.
        header: Properties of the image.
        content: Content of the file.
    """

    path: Path
    header: ImageHeader
    content: bytes

    def colours(self, *, is_turned: bool = True) -> UInt8Array:
        """Decode in colour.

        Args:
            is_turned: Whether to turn the image by its EXIF orientation, as viewers do.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: OpenCV cannot decode the file.
        """
        bgr = self._decoded(self.content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return turned(rgb, self.header.orientation) if is_turned else rgb

    def values(self) -> npt.NDArray[Any]:
        """Decode samples as they are stored, turned by the EXIF orientation.

        A PNG file with a palette gives its indices. A grey PNG file of 1, 2 or 4 bits gives its samples: 0 to
        1, 3 or 15.

        Returns:
            (H, W) or (H, W, C) array with the data type of the file; colours stay in OpenCV's order, BGR.

        Raises:
            ImageError: OpenCV cannot decode the file.
        """
        header = self.header
        is_png = header.format == 'PNG'
        content = png.as_indices(self.content) if is_png and header.has_palette else self.content
        values = self._decoded(content, cv2.IMREAD_UNCHANGED)
        if is_png and header.bits < 8 and values.ndim == 2:
            values = values // (255 // ((1 << header.bits) - 1))  # OpenCV stretches them to 0..255
        return turned(values, header.orientation)

    def _decoded(self, content: bytes, flags: int) -> npt.NDArray[Any]:
        try:
            values = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except (cv2.error, MemoryError) as err:
            raise ImageError(f'{shown_path(self.path)} cannot be decoded') from err
        size = self.header.height, self.header.width
        is_size = values is not None and (
            values.shape[:2] == size or (self.header.format == 'TIFF' and values.shape[1::-1] == size)
        )
        if values is None or not is_size:
            raise ImageError(f'{shown_path(self.path)} is a damaged {self.header.format} file')
        return np.asarray(values)


def open_image(path: Path) -> ImageFile:
    """Read an image file without decoding it.

    Args:
        path: Path of the file.

    Raises:
        ImageError: The file is missing, is not an image, is damaged or ends early, or is too large.
    """
    content = read_bytes(path, ImageError, FILE_LIMIT)
    try:
        return ImageFile(path, read_header(content), content)
    except ImageError as err:
        raise ImageError(f'{shown_path(path)} {err}') from err


def read_image(path: Path) -> UInt8Array:
    """Read an image file in colour, turned by its EXIF orientation.

    Args:
        path: Path of the file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: As for :func:`open_image` and :meth:`ImageFile.colours`.
    """
    return open_image(path).colours()


def read_values(path: Path) -> npt.NDArray[Any]:
    """Read an image file whose values are not colours, such as class ids; see :meth:`ImageFile.values`.

    Args:
        path: Path of the file.

    Raises:
        ImageError: As for :func:`open_image` and :meth:`ImageFile.values`.
    """
    return open_image(path).values()


def write_image(path: Path, picture: UInt8Array) -> None:
    """Write an image file.

    Args:
        path: Path of the file in an existing folder; the suffix chooses the format.
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 values.

    Raises:
        ImageError: The array has another shape or data type, or the file cannot be written.
        UnavailableError: OpenCV on this computer does not write this format.
    """
    suffix = path.suffix.encode('ascii', 'replace').decode()  # OpenCV dies of other names
    if not cv2.haveImageWriter(f'a{suffix}'):
        raise UnavailableError(
            f"OpenCV does not write '{suffix}' files ({shown_path(path)}); use .png or .jpg"
        )
    try:
        is_encoded, content = cv2.imencode(suffix, _as_bgr(picture))
        if is_encoded:
            path.write_bytes(content.tobytes())
            return
        reason = 'OpenCV cannot encode it'
    except (OSError, ValueError, cv2.error) as err:
        if isinstance(err, ImageError):
            raise
        reason = str(getattr(err, 'strerror', None) or 'OpenCV cannot encode it')
    raise ImageError(
        f'{shown_path(path)} cannot be written ({reason}); check that its folder exists and allows new files'
    )


def encode_jpeg(picture: UInt8Array, quality: int) -> bytes:
    """Compress a picture as a JPEG file.

    Args:
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 grey.
        quality: Quality of the compression, 0..100.

    Returns:
        Content of the file.

    Raises:
        ImageError: The array has another shape or data type.
    """
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, *_FULL_COLOUR)
    _, content = cv2.imencode('.jpg', _as_bgr(picture), options)
    return content.tobytes()


def _as_bgr(picture: UInt8Array) -> UInt8Array:
    """Colours in OpenCV's order; grey pictures as they are."""
    is_grey = picture.ndim == 2
    if picture.dtype != np.uint8 or not (is_grey or picture.shape[2:] == (3,)) or not picture.size:
        raise ImageError(
            f'a picture has shape {picture.shape} and type {picture.dtype}; '
            'expected (H, W, 3) uint8 RGB or (H, W) uint8'
        )
    values = picture if is_grey else cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(values, np.uint8)
