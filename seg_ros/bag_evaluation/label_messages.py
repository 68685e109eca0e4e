"""True labels in messages: class ids in one channel, or the colours of the classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.bags.messages import COMPRESSED_IMAGE, Message
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.images.compressed import decode
from seg_ros.images.messages import image_of
from seg_ros.images.raw import bytes_of, check_amount, described

_INTEGERS = {
    'mono8': 'u1',
    '8UC1': 'u1',
    '8SC1': 'i1',
    'mono16': 'u2',
    '16UC1': 'u2',
    '16SC1': 'i2',
    '32SC1': 'i4',
}
"""Encodings of class ids -> their type."""

_JPEG = b'\xff\xd8'


def labels_of(message: Message, classes: ClassSet) -> UInt8Array:
    """Class ids of a label message.

    Args:
        message: Raw image with class ids of 8 to 32 bits, or with the colours of the classes; or a compressed
            image without losses, such as PNG. Negative ids, 255 and black are void.
        classes: Classes of the labels.

    Returns:
        (H, W) uint8; 255 = void. Ids may lie outside the classes.

    Raises:
        DatasetError: The image has lossy compression, an id above 255, or a colour that no class has.
        BagError, ImageError: The message cannot be read.
    """
    content = message.decode()
    values = _compressed(message, content) if message.type == COMPRESSED_IMAGE else _raw(content)
    if values is not None:
        return _as_ids(message, values)
    image = image_of(content)
    if (image[..., :1] == image).all():
        return np.ascontiguousarray(image[..., 0])
    return _from_colours(message, image, classes)


def _raw(content: Any) -> npt.NDArray[np.integer[Any]] | None:
    """Values of an image with one channel of integers; None for others."""
    kind = _INTEGERS.get(content.encoding)
    if kind is None:
        return None
    check_amount(content, content.height)
    dtype = np.dtype(('>' if content.is_bigendian else '<') + kind)
    n_bytes = content.width * dtype.itemsize
    if content.step < n_bytes:
        raise DatasetError(f'labels: {described(content)} has a step below {n_bytes}: check the publisher')
    rows = np.frombuffer(bytes_of(content.data), np.uint8, content.height * content.step)
    rows = np.ascontiguousarray(rows.reshape(content.height, content.step)[:, :n_bytes])
    return rows.view(dtype)


def _compressed(message: Message, content: Any) -> npt.NDArray[np.integer[Any]] | None:
    """Values of a file with one channel; None for colours."""
    data = bytes_of(content.data)
    if bytes(data[:2]) == _JPEG:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns are a JPEG file, which changes values; '
            'publish them raw or as PNG'
        )
    values = decode(data, content.format).values
    return values if values.ndim == 2 else None


def _as_ids(message: Message, values: npt.NDArray[np.integer[Any]]) -> UInt8Array:
    largest = int(values.max(initial=0))
    if largest > UNLABELLED:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns hold the id {largest}; expected class ids, or 255 for void'
        )
    return np.where(values < 0, UNLABELLED, values).astype(np.uint8)


def _from_colours(message: Message, image: UInt8Array, classes: ClassSet) -> UInt8Array:
    packed = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    ids = np.full(image.shape[:2], UNLABELLED, np.uint8)
    is_known = packed == 0
    for row in classes.classes:
        matches = packed == (row.colour[0] << 16) + (row.colour[1] << 8) + row.colour[2]
        ids[matches] = row.id
        is_known |= matches
    if not is_known.all():
        colour = image[~is_known][0].tolist()
        raise DatasetError(
            f'labels at {message.stamp_ns} ns hold the colour {colour}, which is not that of a class; '
            'expected class ids (mono8), or the colours of the classes without compression losses'
        )
    return ids
