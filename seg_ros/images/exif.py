"""Orientation of images: the EXIF tag, and turning pixels by it."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

UPRIGHT = 1
_ORIENTATION_TAG = 274
_MAX_ENTRIES = 1000


def orientation_in(exif: bytes) -> int:
    """Orientation in EXIF data.

    Args:
        exif: EXIF data, which have the structure of a TIFF file; damaged data are upright.

    Returns:
        1..8; 1 = upright, 3 = upside down, 6 and 8 = a quarter turn, others are mirrored.
    """
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(order + 'I', exif, 4)
        (n_entries,) = struct.unpack_from(order + 'H', exif, start)
        for number in range(min(n_entries, _MAX_ENTRIES)):
            tag, kind = struct.unpack_from(order + 'HH', exif, start + 2 + 12 * number)
            if tag == _ORIENTATION_TAG and kind == 3:
                (value,) = struct.unpack_from(order + 'H', exif, start + 10 + 12 * number)
                return int(value) if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def turned(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Pixels as a viewer shows them.

    Args:
        pixels: (H, W) or (H, W, C) array as it is stored.
        orientation: Orientation from :func:`orientation_in`.

    Returns:
        Array of the same type; 5..8 swap height and width.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
