"""Memory layout of raw image messages: checks, and views of their planes."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seg_ros.errors import ImageError
from seg_ros.images.encodings import Encoding

if TYPE_CHECKING:
    from sensor_msgs.msg import Image


def described(msg: 'Image') -> str:
    """Size, encoding, step and amount of data of a message, for errors."""
    return (
        f'image {msg.width}x{msg.height} {msg.encoding!r:.80} of step {msg.step} and '
        f'{bytes_of(msg.data).nbytes} bytes'
    )


def bytes_of(data: Any) -> memoryview:
    """View of the data of a message.

    Raises:
        ImageError: The data is not a contiguous buffer.
    """
    try:
        return memoryview(data).cast('B')
    except (TypeError, ValueError) as err:
        raise ImageError(f'data of an image is {type(data).__name__}; expected an array of bytes') from err


def check_amount(msg: 'Image', n_rows: int) -> None:
    """Refuse empty images and those with less data than ``n_rows`` rows of ``step`` bytes."""
    if msg.height < 1 or msg.width < 1:
        raise ImageError(f'{described(msg)} is empty; expected at least one pixel: check the publisher')
    if bytes_of(msg.data).nbytes < n_rows * msg.step:
        raise ImageError(
            f'{described(msg)} is truncated; expected {n_rows} rows of {msg.step} = '
            f'{n_rows * msg.step} bytes: check the publisher'
        )


def check_shape(height: int, width: int, encoding: Encoding, what: str) -> None:
    """Refuse sizes that an encoding does not allow; ``what`` describes the image in errors."""
    rows, columns = encoding.subsampling
    if height % rows or width % columns:
        raise ImageError(
            f'{what}: expected a width divisible by {columns} and a height by {rows}, '
            'because these pixels share a chroma sample'
        )
    if min(height, width) < encoding.min_size:
        raise ImageError(
            f'{what}: expected at least {encoding.min_size}x{encoding.min_size} pixels to demosaic'
        )


def check_layout(msg: 'Image', encoding: Encoding) -> None:
    """Refuse sizes and steps that are invalid for the encoding, so that all views stay inside the data."""
    check_shape(msg.height, msg.width, encoding, described(msg))
    rows, columns = encoding.subsampling
    row_bytes = msg.width * encoding.channels * encoding.itemsize
    if msg.step < row_bytes:
        raise ImageError(f'{described(msg)}: expected a step of at least {row_bytes}: check the publisher')
    if encoding.has_chroma_plane:
        check_amount(msg, msg.height + msg.height * 2 // (rows * columns))


def planes(msg: 'Image', encoding: Encoding) -> list[npt.NDArray[Any]]:
    """Planes of a checked message, as views.

    Returns:
        (H, W, channels) uint8, or uint16 of the byte order of the message, and possibly chroma,
        (H / rows, W / columns, 2) uint8.
    """
    height, width, step, itemsize = msg.height, msg.width, msg.step, encoding.itemsize
    order = '>' if msg.is_bigendian else '<'
    shape, strides = (height, width, encoding.channels), (step, encoding.channels * itemsize, itemsize)
    found = [np.ndarray(shape, f'{order}u{itemsize}', msg.data, strides=strides)]
    if encoding.has_chroma_plane:
        rows, columns = encoding.subsampling
        shape, strides = (height // rows, width // columns, 2), (step * 2 // columns, 2, 1)
        found.append(np.ndarray(shape, np.uint8, msg.data, offset=height * step, strides=strides))
    return found
