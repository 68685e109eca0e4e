"""Image files: RGB in memory, any format of OpenCV on disk.

OpenCV keeps colours as BGR. It returns None for a file that it cannot read and False for one that it cannot
write. These functions convert the colours and raise errors.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError, UnavailableError

IMAGE_SUFFIXES = ('.png', '.webp', '.jpg', '.jpeg', '.bmp', '.ppm', '.tif', '.tiff')
"""Suffixes of the files that are images, in lower case."""

_FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)  # for thin lines


def read_image(path: Path) -> UInt8Array:
    """Read an image file in colour.

    Args:
        path: Path of the file.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: The file is missing, or is not an image that OpenCV reads.
    """
    bgr = _read(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_values(path: Path) -> npt.NDArray[Any]:
    """Read an image file whose values are not colours, such as class ids, without converting anything.

    Args:
        path: Path of the file.

    Returns:
        (H, W) or (H, W, C) array with the data type of the file; colours stay in OpenCV's order, BGR.

    Raises:
        ImageError: The file is missing, or is not an image that OpenCV reads.
    """
    return _read(path, cv2.IMREAD_UNCHANGED)


def write_image(path: Path, picture: UInt8Array) -> None:
    """Write an image file.

    Args:
        path: Path of the file in an existing folder; the suffix chooses the format.
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 values.

    Raises:
        ImageError: The array has another shape or data type, or the file cannot be written.
        UnavailableError: OpenCV on this computer does not write this format.
    """
    if not cv2.haveImageWriter(str(path)):
        raise UnavailableError(f"OpenCV does not write '{path.suffix}' files ({path}); use .png or .jpg")
    if not cv2.imwrite(str(path), _as_bgr(picture)):
        raise ImageError(f'{path} cannot be written; check that its folder exists and allows new files')


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


def _read(path: Path, flags: int) -> npt.NDArray[Any]:
    values = cv2.imread(str(path), flags)
    if values is None:
        raise ImageError(f'{path} is missing or is not an image that OpenCV reads')
    return np.asarray(values)


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
