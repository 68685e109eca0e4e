"""Image files: RGB in memory; PNG, JPEG, WebP, BMP, TIFF, PGM and PPM on disk.

A file is read and its header checked before OpenCV decodes it: OpenCV cannot open every name, ends the
process for some sizes, and returns half an image for some files that end early.

Samples of more than 8 bits become 8 bits: by the largest value that a PGM or PPM file states, else by the
bits that the image uses, as in messages (see seg_ros.images.samples). OpenCV writes 65535 into every PGM and
PPM file of 16 bits, so that this value states nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError, UnavailableError
from seg_ros.images import png, pnm
from seg_ros.images.exif import turned
from seg_ros.images.header import ImageHeader, read_header
from seg_ros.images.jpeg_scan import check_pixels
from seg_ros.images.other_formats import with_plain_alpha
from seg_ros.images.samples import narrowed
from seg_ros.userfiles.reading import read_bytes, shown_path

T = TypeVar('T')

IMAGE_SUFFIXES = ('.png', '.webp', '.jpg', '.jpeg', '.bmp', '.pgm', '.ppm', '.tif', '.tiff')
"""Suffixes of the files that are images, in lower case."""

_IN_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)  # for thin lines

FILE_LIMIT = 1 << 30
"""Maximum size of an image file in bytes."""

_MOST_STATED = 65535

log = logging.getLogger(__name__)


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
        """Decode in colour; alpha is dropped.

        Args:
            is_turned: Whether to turn the image by its EXIF orientation, as viewers do.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ImageError: OpenCV cannot decode the file, its compressed pixels are damaged, or its samples are
                not brightness of up to 16 bits.
        """
        header = self.header
        if header.is_float or header.bits > 16:
            raise self._measured()
        if header.format == 'JPEG':
            self._named(check_pixels)
        rgb = self._stated_colours() if header.most else self._decoded_colours()
        return turned(rgb, header.orientation) if is_turned else rgb

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
        if header.most:
            samples = self._named(pnm.samples)
            return np.ascontiguousarray(samples[..., ::-1]) if samples.ndim == 3 else samples
        is_png = header.format == 'PNG'
        content = png.as_indices(self.content) if is_png and header.has_palette else self.content
        values = self._decoded(content, cv2.IMREAD_UNCHANGED)
        if is_png and header.bits < 8 and values.ndim == 2:
            values = values // (255 // ((1 << header.bits) - 1))  # OpenCV stretches them to 0..255
        return turned(values, header.orientation)

    def _stated_colours(self) -> UInt8Array:
        """Colours of a PGM or PPM file, scaled by its largest value."""
        samples = self._named(pnm.samples)
        samples = samples if samples.ndim == 3 else np.repeat(samples[..., None], 3, axis=2)
        most = self.header.most
        if most == _MOST_STATED:
            return self._narrowed(samples)
        if most == 255:
            return samples.astype(np.uint8, copy=False)
        table = (np.arange(most + 1) * 255 + most // 2) // most
        scaled: UInt8Array = table.astype(np.uint8)[samples]
        return scaled

    def _decoded_colours(self) -> UInt8Array:
        """Colours of any other file."""
        header = self.header
        content = with_plain_alpha(self.content) if header.format == 'TIFF' else self.content
        depth = 0 if header.is_white_zero else cv2.IMREAD_ANYDEPTH
        rgb = cv2.cvtColor(
            _unsigned(self.path, self._decoded(content, _IN_COLOUR | depth)), cv2.COLOR_BGR2RGB
        )
        return self._narrowed(rgb) if rgb.dtype == np.uint16 else rgb.astype(np.uint8, copy=False)

    def _narrowed(self, samples: npt.NDArray[Any]) -> UInt8Array:
        """Samples of 16 bits as 8 bits; tells of a file that uses fewer than 16."""
        if self.header.format == 'TIFF' and self.header.bits < 16:  # OpenCV fills the lower bits with zeros
            return (samples >> 8).astype(np.uint8)
        most_bits = 15 if self.header.is_signed else 16
        narrow, depth = narrowed(samples, most_bits)
        if depth < most_bits:
            _tell_depth(self.path.parent, depth)
        return narrow

    def _measured(self) -> ImageError:
        """Error for samples that are not brightness."""
        kind = 'floating-point numbers' if self.header.is_float else 'whole numbers'
        return ImageError(
            f'{shown_path(self.path)} has samples of {self.header.bits} bits, {kind} as measured values '
            'have; expected a colour or grey image of 8 or 16 bits'
        )

    def _named(self, read: Callable[[bytes], T]) -> T:
        """Result of a function of the content, whose errors are given the name of the file."""
        try:
            return read(self.content)
        except ImageError as err:
            raise ImageError(f'{shown_path(self.path)} {err}') from err

    def _decoded(self, content: bytes, flags: int) -> npt.NDArray[Any]:
        try:
            values = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except (cv2.error, MemoryError) as err:
            raise ImageError(f'{shown_path(self.path)} cannot be decoded') from err
        size = self.header.height, self.header.width
        is_size = values is not None and (
            values.shape[:2] == size or (self.header.format == 'TIFF' and values.shape[1::-1] == size)
        )
        if values is None and self.header.is_float:
            raise self._measured()
        if values is None or not is_size:
            raise ImageError(f'{shown_path(self.path)} is a damaged {self.header.format} file')
        return np.asarray(values)


@lru_cache(maxsize=1000)
def _tell_depth(folder: Path, depth: int) -> None:
    """Tell once for a folder that its files use few bits."""
    log.warning(
        '%s has images of 16 bits a sample that use only %d of them; they are scaled by these, each by its '
        'own: save 8 bits a sample, or scale the samples to all 16, if they should stay darker',
        shown_path(folder),
        depth,
    )


def _unsigned(path: Path, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Samples without a sign."""
    if samples.dtype.kind != 'i':
        return samples
    if samples.min() < 0:
        raise ImageError(
            f'{shown_path(path)} has samples below 0, as measured values have; '
            'expected a colour or grey image'
        )
    return samples.view(f'u{samples.dtype.itemsize}')


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
