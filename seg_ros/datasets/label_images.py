"""Label images: files whose values or colours are classes."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.images.files import read_image, read_values


def read_ids(path: Path) -> UInt8Array:
    """Read a label image without converting its values.

    Args:
        path: Path of an 8-bit image with one channel.

    Returns:
        (H, W) uint8.

    Raises:
        DatasetError: The image has several channels, or more than 8 bits.
        ImageError: The file is missing, or is not an image.
    """
    labels = read_values(path)
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DatasetError(
            f'{path} has shape {labels.shape}, type {labels.dtype}; expected one 8-bit channel of class ids'
        )
    return labels


def read_labels(path: Path, classes: ClassSet, void_id: int | None = None) -> UInt8Array:
    """Read a label image whose values are class ids.

    Args:
        path: Path of an 8-bit image with one channel.
        classes: Classes that may occur.
        void_id: Value of void pixels in the file, besides 255.

    Returns:
        Class ids, (H, W) uint8; 255 = void.

    Raises:
        DatasetError: The image has several channels, or a value that is not a class.
        ImageError: The file is missing, or is not an image.
    """
    labels = read_ids(path)
    if void_id is not None:
        labels[labels == void_id] = UNLABELLED
    known = np.zeros(256, bool)
    known[: len(classes)] = known[UNLABELLED] = True
    unknown = np.flatnonzero((np.bincount(labels.ravel(), minlength=256) > 0) & ~known)
    if unknown.size:
        raise DatasetError(
            f'{path} holds values {unknown.tolist()}; '
            f'expected class ids 0..{len(classes) - 1}, or 255 for void'
        )
    return labels


def read_coloured_labels(path: Path, classes: ClassSet, void_colour: tuple[int, int, int]) -> UInt8Array:
    """Read a label image in the colours of its classes.

    Args:
        path: Path of an image with a palette, or in RGB. An image with one channel holds class ids.
        classes: Ids and colours.
        void_colour: (r, g, b) of void pixels.

    Returns:
        Class ids, (H, W) uint8; 255 = void.

    Raises:
        DatasetError: The image has a colour that no class has.
        ImageError: The file is missing, or is not an image.
    """
    shape = read_values(path).shape
    if len(shape) == 2:
        return read_labels(path, classes)
    packed = read_image(path).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    colours, where = np.unique(packed, return_inverse=True)
    ids = {row.colour: row.id for row in classes.classes} | {void_colour: UNLABELLED}
    found = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in colours]
    unknown = [colour for colour in found if colour not in ids]
    if unknown:
        raise DatasetError(
            f'{path} holds colours {unknown[:3]}; expected those of {", ".join(classes.names)}'
        )
    return np.array([ids[colour] for colour in found], np.uint8)[where.reshape(shape[:2])]


def read_pair(
    image_path: Path, label_path: Path, classes: ClassSet, void_id: int | None = None
) -> tuple[UInt8Array, UInt8Array]:
    """Read an image with :func:`read_image` and its labels with :func:`read_labels`.

    Raises:
        DatasetError: The sizes differ, or the labels are not as expected.
        ImageError: A file is missing, or is not an image.
    """
    image, labels = read_image(image_path), read_labels(label_path, classes, void_id)
    check_sizes(image_path, image, label_path, labels)
    return image, labels


def check_sizes(image_path: Path, image: UInt8Array, label_path: Path, labels: UInt8Array) -> None:
    """Refuse labels of another size than their image.

    Raises:
        DatasetError: The sizes differ.
    """
    if image.shape[:2] != labels.shape:
        raise DatasetError(
            f'{image_path} is {image.shape[:2]} but {label_path} is {labels.shape}; expected equal sizes'
        )
