"""True labels in messages: class ids, or the colours of the classes.

A file with one channel, and an image with equal channels, hold class ids, and so do the indices of a palette.
Such images may also be in the colours of the classes: a black one is all void, or all of class 0. Then other
images of the topic tell which.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.bags.messages import COMPRESSED_IMAGE, Message
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError, ImageError
from seg_ros.images.compressed import decode
from seg_ros.images.encodings import ENCODINGS
from seg_ros.images.exif import UPRIGHT
from seg_ros.images.files import ImageFile
from seg_ros.images.header import ImageHeader, read_header
from seg_ros.images.raw import bytes_of, check_amount, check_layout, described, planes

LabelKind = Literal['ids', 'colours']
"""Kind of the values of a label image."""

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

_COLOURS = ('rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', '8UC4', 'rgb16', 'bgr16', 'rgba16', 'bgra16', '16UC3')
"""Encodings with a sample for each colour of each pixel."""

_EXPECTED = 'publish class ids as mono8, or the colours of the classes as rgb8, raw or as PNG'


@dataclass(frozen=True)
class LabelPixels:
    """Pixels of a label message.

    Attributes:
        values: (H, W) integers that may be ids; None = has none.
        colours: (H, W, 3) uint8 RGB that may be those of the classes; None = has none.
    """

    values: npt.NDArray[np.integer[Any]] | None
    colours: UInt8Array | None


def labels_of(
    message: Message, classes: ClassSet, kind_of_others: Callable[[], LabelKind | None] = lambda: None
) -> UInt8Array:
    """Class ids of a label message.

    Args:
        message: Raw image with class ids of 8 to 32 bits, or with the colours of the classes; or a compressed
            image without losses, such as PNG. Negative ids, 255 and black are void.
        classes: Classes of the labels.
        kind_of_others: What the other images of the topic hold; asked if this one fits in both ways.

    Returns:
        (H, W) uint8; 255 = void. Ids may lie outside the classes if the image has one channel.

    Raises:
        DatasetError: The image has lossy compression, an id above 255, or a colour that no class has; or it
            fits as ids and as colours, and the others do not tell which.
        BagError, ImageError: The message cannot be read.
    """
    pixels = _pixels_of(message)
    if pixels.values is not None and pixels.colours is None:
        return _as_ids(message, pixels.values)
    by_id, by_colour = _by_id(pixels, classes), _by_colour(pixels, classes)
    if by_id is not None and by_colour is not None and not np.array_equal(by_id, by_colour):
        return _decided(message, by_id, by_colour, kind_of_others())
    labels = by_id if by_id is not None else by_colour
    if labels is None:
        raise DatasetError(_misfit(message, pixels, classes))
    return labels


def kind_of(message: Message, classes: ClassSet) -> LabelKind | None:
    """Kind of the values of a label message; None if both kinds fit or none, or only one is possible.

    Raises:
        As for :func:`labels_of`.
    """
    pixels = _pixels_of(message)
    if pixels.colours is None:
        return None
    is_ids, is_colours = (found(pixels, classes) is not None for found in (_by_id, _by_colour))
    if is_ids == is_colours:
        return None
    return 'ids' if is_ids else 'colours'


def _decided(
    message: Message, by_id: UInt8Array, by_colour: UInt8Array, kind: LabelKind | None
) -> UInt8Array:
    if kind is None:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns fit as ids and as colours of the classes, with different '
            'labels; publish class ids with one channel (mono8)'
        )
    return by_id if kind == 'ids' else by_colour


def _pixels_of(message: Message) -> LabelPixels:
    content = message.decode()
    if message.type == COMPRESSED_IMAGE:
        return _compressed(message, content)
    if content.encoding in _INTEGERS:
        return LabelPixels(_raw_integers(content, _INTEGERS[content.encoding]), None)
    if content.encoding not in _COLOURS:
        raise DatasetError(
            f'labels: {described(content)} has an encoding that does not keep values; {_EXPECTED}'
        )
    encoding = ENCODINGS[content.encoding]
    check_amount(content, content.height)
    check_layout(content, encoding)
    return _of_channels(message, planes(content, encoding)[0], content.encoding)


def _raw_integers(content: Any, kind: str) -> npt.NDArray[np.integer[Any]]:
    """Values of a raw image with one channel."""
    check_amount(content, content.height)
    dtype = np.dtype(('>' if content.is_bigendian else '<') + kind)
    n_bytes = content.width * dtype.itemsize
    if content.step < n_bytes:
        raise DatasetError(f'labels: {described(content)} has a step below {n_bytes}: check the publisher')
    rows = np.frombuffer(bytes_of(content.data), np.uint8, content.height * content.step)
    rows = np.ascontiguousarray(rows.reshape(content.height, content.step)[:, :n_bytes])
    return rows.view(dtype)


def _compressed(message: Message, content: Any) -> LabelPixels:
    data = bytes_of(content.data)
    pixels = decode(data, content.format)
    header = _header(message, bytes(data))
    if header.format == 'PNG' and (header.has_palette or header.bits < 8):
        file = ImageFile(Path(message.topic), replace(header, orientation=UPRIGHT), bytes(data))
        colours = ENCODINGS[pixels.encoding].to_rgb(pixels.values) if header.has_palette else None
        return LabelPixels(file.values(), colours)
    if pixels.values.shape[2] == 1:
        return LabelPixels(pixels.values[..., 0], None)
    return _of_channels(message, pixels.values, pixels.encoding)


def _header(message: Message, data: bytes) -> ImageHeader:
    """Header of a file that keeps values."""
    try:
        header = read_header(data)
    except ImageError as err:
        raise ImageError(f'labels at {message.stamp_ns} ns are a file that {err}') from err
    if header.is_lossy:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns are a lossy {header.format} file, whose values are not those '
            'that were drawn; publish them raw or as PNG'
        )
    if header.format != 'PNG' and header.bits < 8:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns are a {header.format} file of {header.bits} bits a sample; '
            'publish them raw or as PNG'
        )
    return header


def _of_channels(message: Message, samples: npt.NDArray[Any], encoding: str) -> LabelPixels:
    """Pixels of an image with three or four channels; alpha is dropped."""
    is_grey = bool((samples[..., :1] == samples[..., :3]).all())
    values = samples[..., 0] if is_grey else None
    if samples.dtype.itemsize == 1:
        return LabelPixels(values, ENCODINGS[encoding].to_rgb(samples))
    if values is None:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns have colours of 16 bits a channel ({encoding}); {_EXPECTED}'
        )
    return LabelPixels(values, None)


def _as_ids(message: Message, values: npt.NDArray[np.integer[Any]]) -> UInt8Array:
    largest = int(values.max(initial=0))
    if largest > UNLABELLED:
        raise DatasetError(
            f'labels at {message.stamp_ns} ns hold the id {largest}; expected class ids, or 255 for void'
        )
    return np.where(values < 0, UNLABELLED, values).astype(np.uint8)


def _by_id(pixels: LabelPixels, classes: ClassSet) -> UInt8Array | None:
    """Labels if all values are ids of classes, or void."""
    if pixels.values is None:
        return None
    is_known = (pixels.values < len(classes)) | (pixels.values == UNLABELLED)
    return pixels.values.astype(np.uint8) if is_known.all() else None


def _by_colour(pixels: LabelPixels, classes: ClassSet) -> UInt8Array | None:
    """Labels if all colours are those of classes, or black."""
    if pixels.colours is None:
        return None
    ids, is_known = _ids_of_colours(pixels.colours, classes)
    return ids if is_known.all() else None


def _ids_of_colours(image: UInt8Array, classes: ClassSet) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Ids of the classes by colour, (H, W), and where a colour is that of a class or black."""
    packed = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    ids = np.full(image.shape[:2], UNLABELLED, np.uint8)
    is_known = packed == 0
    for row in classes.classes:
        matches = packed == (row.colour[0] << 16) + (row.colour[1] << 8) + row.colour[2]
        ids[matches] = row.id
        is_known |= matches
    return ids, is_known


def _misfit(message: Message, pixels: LabelPixels, classes: ClassSet) -> str:
    """Reason why an image with colours holds no labels."""
    found = []
    if pixels.values is not None:
        found.append(f'values up to {int(pixels.values.max(initial=0))}')
    if pixels.colours is not None:
        _, is_known = _ids_of_colours(pixels.colours, classes)
        found.append(f'the colour {pixels.colours[~is_known][0].tolist()}')
    return (
        f'labels at {message.stamp_ns} ns hold {" and ".join(found)}, which is not that of a class; '
        'expected class ids (mono8), or the colours of the classes without compression losses'
    )
