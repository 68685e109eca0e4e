"""Label images: files whose values or colours are classes, by the kind of the file.

A file with one channel, or with equal channels, holds class ids, and so do the indices of a palette. Colours
are read if every one of them is that of a class. Files of lossy compression are refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Int32Array, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.images.files import ImageFile, open_image
from seg_ros.schema import shown
from seg_ros.userfiles.reading import shown_path

Colour = tuple[int, int, int]

_AS_PNG = 'save label images as PNG with one 8-bit channel'


@dataclass(frozen=True)
class _Content:
    """Decoded label image: values that may be ids, (H, W), and packed colours, (H, W); None = has none."""

    values: npt.NDArray[np.unsignedinteger] | None
    colours: Int32Array | None


def read_ids(path: Path) -> UInt8Array:
    """Read a label image without converting its values.

    Args:
        path: Path of an image with one channel or with equal channels, or of a PNG file with a palette, whose
            indices are the values. Values are at most 255.

    Returns:
        (H, W) uint8.

    Raises:
        DatasetError: The image has colours, larger values, or lossy compression.
        ImageError: The file is missing, or is not an image.
    """
    values = _decode(open_image(path)).values
    if values is None:
        raise DatasetError(f'{shown_path(path)} has colours; expected class ids: {_AS_PNG}')
    return _as_bytes(path, values)


def read_translated_ids(path: Path, ids: Mapping[int, int]) -> UInt8Array:
    """Read a label image whose values stand for class ids.

    Args:
        path: Path of an image as for :func:`read_ids`.
        ids: Value -> class id, or 255 for void.

    Returns:
        Class ids, (H, W) uint8; 255 = void.

    Raises:
        DatasetError: The image has a value that is not in ``ids``, or as for :func:`read_ids`.
        ImageError: The file is missing, or is not an image.
    """
    values = read_ids(path)
    unknown = [int(value) for value in np.unique(values) if int(value) not in ids]
    if unknown:
        raise DatasetError(f'{shown_path(path)} holds values {shown(unknown)}; expected {shown(sorted(ids))}')
    table = np.full(256, UNLABELLED, np.uint8)
    table[list(ids)] = list(ids.values())
    return table[values]


def read_labels(path: Path, classes: ClassSet, void_id: int | None = None) -> UInt8Array:
    """Read a label image whose values are class ids, or whose colours are those of the classes.

    Args:
        path: Path of an image as for :func:`read_ids`, or in the colours of the classes.
        classes: Classes that may occur.
        void_id: Value of void pixels in the file, besides 255.

    Returns:
        Class ids, (H, W) uint8; 255 = void.

    Raises:
        DatasetError: The image has a value or colour that is not a class, fits in both ways with different
            results, or has lossy compression; or ``void_id`` is the id of a class.
        ImageError: The file is missing, or is not an image.
    """
    if void_id is not None and (not 0 <= void_id <= UNLABELLED or void_id < len(classes)):
        raise DatasetError(
            f'void_id is {void_id}; expected a value up to 255 that is not the id of a class. '
            'To leave a class out, use relabel'
        )
    content = _decode(open_image(path))
    by_id, id_error = _attempt(_ids_of, path, content.values, classes, void_id)
    by_colour, colour_error = _attempt(_colours_of, path, content.colours, classes, None)
    if by_id is not None and by_colour is not None and not np.array_equal(by_id, by_colour):
        raise DatasetError(
            f'{shown_path(path)} fits as ids and as colours of the classes, with different labels; {_AS_PNG}'
        )
    labels = by_id if by_id is not None else by_colour
    if labels is not None:
        return labels
    if id_error is not None and colour_error is not None:
        raise DatasetError(f'{id_error}; its colours are not those of the classes either')
    raise id_error or colour_error or DatasetError(f'{shown_path(path)} has no labels')


def read_coloured_labels(path: Path, classes: ClassSet, void_colour: Colour) -> UInt8Array:
    """Read a label image in the colours of its classes.

    Args:
        path: Path of an image with a palette, or in RGB. An image with one channel holds class ids.
        classes: Ids and colours.
        void_colour: (r, g, b) of void pixels.

    Returns:
        Class ids, (H, W) uint8; 255 = void.

    Raises:
        DatasetError: The image has a colour that no class has, or lossy compression; or two classes, or a
            class and void, have one colour.
        ImageError: The file is missing, or is not an image.
    """
    content = _decode(open_image(path))
    if content.colours is not None:
        return _colours_of(path, content.colours, classes, void_colour)
    return read_labels(path, classes)


def read_pair(
    image_path: Path, label_path: Path, classes: ClassSet, void_id: int | None = None
) -> tuple[UInt8Array, UInt8Array]:
    """Read an image, and its labels with :func:`read_labels`; see :func:`read_both`.

    Raises:
        DatasetError: The sizes differ, or the labels are not as expected.
        ImageError: A file is missing, or is not an image.
    """
    return read_both(image_path, label_path, lambda path: read_labels(path, classes, void_id))


def read_both(
    image_path: Path, label_path: Path, read: Callable[[Path], UInt8Array]
) -> tuple[UInt8Array, UInt8Array]:
    """Read an image and its labels, both turned alike.

    Labels of an image with an EXIF orientation may have been drawn before or after turning. The size tells
    which after a quarter turn. Otherwise only equal orientations of both files do.

    Args:
        image_path: Path of the image.
        label_path: Path of the label image.
        read: Reads the label image to class ids, (H, W) uint8.

    Raises:
        DatasetError: There are no labels, the sizes differ, the orientation is ambiguous, or as for ``read``.
        ImageError: A file is missing, or is not an image.
    """
    image_file = open_image(image_path)
    if not label_path.exists():
        raise DatasetError(f'{shown_path(image_path)} has no label image; expected {shown_path(label_path)}')
    labels = read(label_path)
    orientation = image_file.header.orientation
    is_turned = True
    if orientation != open_image(label_path).header.orientation:
        is_turned = _is_drawn_turned(image_file, label_path, labels)
    image = image_file.colours(is_turned=is_turned)
    check_sizes(image_path, image, label_path, labels)
    return image, labels


def check_sizes(image_path: Path, image: UInt8Array, label_path: Path, labels: UInt8Array) -> None:
    """Refuse labels of another size than their image.

    Raises:
        DatasetError: The sizes differ.
    """
    if image.shape[:2] != labels.shape:
        raise DatasetError(
            f'{shown_path(image_path)} is {image.shape[:2]} but {shown_path(label_path)} is {labels.shape}; '
            'expected equal sizes'
        )


def _is_drawn_turned(image: ImageFile, label_path: Path, labels: UInt8Array) -> bool:
    """Whether the labels, whose file has another orientation, were drawn on the turned image."""
    header = image.header
    stored = header.height, header.width
    if header.orientation >= 5 and stored[0] != stored[1] and labels.shape in (stored, stored[::-1]):
        return labels.shape != stored
    raise DatasetError(
        f'{shown_path(image.path)} has EXIF orientation {header.orientation}, {shown_path(label_path)} has '
        'another, so that the labels may be turned or not; turn the pixels and remove the tag, for example '
        'with mogrify -auto-orient'
    )


def _decode(file: ImageFile) -> _Content:
    """Values and colours of a label image, by the kind of its file."""
    path, header = shown_path(file.path), file.header
    if header.is_lossy:
        raise DatasetError(
            f'{path} is a lossy {header.format} file, whose values are not those that were drawn; {_AS_PNG}'
        )
    if header.format != 'PNG' and header.bits < 8 and not header.most:
        raise DatasetError(f'{path} is a {header.format} file of {header.bits} bits a sample; {_AS_PNG}')
    values = file.values()
    if values.dtype not in (np.uint8, np.uint16):
        raise DatasetError(f'{path} has samples of type {values.dtype}; {_AS_PNG}')
    if values.ndim == 2:
        is_indexed = header.format == 'PNG' and header.has_palette
        return _Content(values, _packed(file.colours()) if is_indexed else None)
    return _without_alpha(path, values)


def _without_alpha(path: str, values: npt.NDArray[Any]) -> _Content:
    """Content of an image with three channels, or four if all pixels are opaque."""
    if values.shape[2] == 4 and (values[..., 3] != np.iinfo(values.dtype).max).any():
        raise DatasetError(f'{path} has transparent pixels; {_AS_PNG}')
    blue, green, red = (values[..., k] for k in range(3))
    grey = blue.copy() if (blue == green).all() and (blue == red).all() else None
    if values.dtype != np.uint8:
        if grey is None:
            raise DatasetError(f'{path} has colours of 16 bits a channel; {_AS_PNG}')
        return _Content(grey, None)
    return _Content(grey, _packed(values[..., 2::-1]))


def _packed(rgb: UInt8Array) -> Int32Array:
    """(H, W, 3) uint8 RGB as one number for each pixel."""
    packed: Int32Array = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed


def _attempt(
    read: Callable[..., UInt8Array], path: Path, content: Any, *arguments: Any
) -> tuple[UInt8Array | None, DatasetError | None]:
    """Labels, or the error that tells why the content does not hold them."""
    if content is None:
        return None, None
    try:
        return read(path, content, *arguments), None
    except DatasetError as err:
        return None, err


def _as_bytes(path: Path, values: npt.NDArray[np.unsignedinteger]) -> UInt8Array:
    most = int(values.max())
    if most > UNLABELLED:
        raise DatasetError(f'{shown_path(path)} holds values up to {most}; expected at most 255: {_AS_PNG}')
    return values.astype(np.uint8)


def _ids_of(
    path: Path, values: npt.NDArray[np.unsignedinteger], classes: ClassSet, void_id: int | None
) -> UInt8Array:
    labels = _as_bytes(path, values)
    if void_id is not None:
        labels[labels == void_id] = UNLABELLED
    known = np.zeros(256, bool)
    known[: len(classes)] = known[UNLABELLED] = True
    unknown = np.flatnonzero((np.bincount(labels.ravel(), minlength=256) > 0) & ~known)
    if unknown.size:
        raise DatasetError(
            f'{shown_path(path)} holds values {shown(unknown.tolist())}; '
            f'expected class ids 0..{len(classes) - 1}, or 255 for void'
        )
    return labels


def _colours_of(path: Path, packed: Int32Array, classes: ClassSet, void_colour: Colour | None) -> UInt8Array:
    ids = _ids_by_colour(classes, void_colour)
    colours, where = np.unique(packed, return_inverse=True)
    found = [(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in colours]
    unknown = [colour for colour in found if colour not in ids]
    if unknown:
        raise DatasetError(
            f'{shown_path(path)} holds colours {unknown[:3]}; expected those of {", ".join(classes.names)}'
        )
    return np.array([ids[colour] for colour in found], np.uint8)[where.reshape(packed.shape)]


def _ids_by_colour(classes: ClassSet, void_colour: Colour | None) -> dict[Colour, int]:
    """Class id of each colour; 255 for that of void."""
    ids: dict[Colour, int] = {}
    for row in classes.classes:
        if row.colour in ids:
            other = classes.names[ids[row.colour]]
            raise DatasetError(f'classes {other} and {row.name} both have the colour {row.colour}')
        ids[row.colour] = row.id
    if void_colour is None:
        return ids
    if void_colour in ids:
        raise DatasetError(
            f'void has the colour {void_colour} of class {classes.names[ids[void_colour]]}; choose another'
        )
    return {**ids, void_colour: UNLABELLED}
