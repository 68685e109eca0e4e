"""What every data set offers, and the files that several of them read."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError

IMAGE_SUFFIXES = ('.png', '.webp', '.jpg', '.jpeg', '.bmp', '.ppm', '.tif', '.tiff')


class Dataset(Protocol):
    """Labelled images, in a fixed order.

    Attributes:
        classes: what the label images' values mean; 255 is void.
        names: one a pair, unique, for reports and for leaving drives out.
    """

    classes: ClassSet
    names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Image (H, W, 3) uint8 RGB and labels (H, W) uint8, class ids and 255."""
        ...


def existing_folder(root: Path | None) -> Path:
    """The root of a data set that needs one.

    Raises:
        DatasetError: none was given, or it is no folder.
    """
    if root is None:
        raise DatasetError('this data set lies in a folder; say which with --data DIR')
    if not root.is_dir():
        raise DatasetError(f'{root} is no folder; expected the root of a data set')
    return root


def read_image(path: Path) -> UInt8Array:
    """An image file as (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: the file is missing or no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f'{path} is missing or is no image that OpenCV reads')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_ids(path: Path) -> UInt8Array:
    """A label image as it is, (H, W) uint8.

    Raises:
        DatasetError: the file is missing or has several channels.
    """
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None:
        raise DatasetError(f'{path} is missing or is no image that OpenCV reads')
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DatasetError(
            f'{path} has shape {labels.shape}, type {labels.dtype}; expected one 8-bit channel of class ids'
        )
    return labels.astype(np.uint8, copy=False)


def read_labels(path: Path, classes: ClassSet, void_id: int | None = None) -> UInt8Array:
    """A label image as (H, W) uint8: class ids, with void as 255.

    Args:
        path: an 8-bit, one-channel image whose values are class ids.
        classes: the ids that may occur.
        void_id: the value that the files use for void besides 255.

    Raises:
        DatasetError: the file is missing, has several channels, or has a value that is no class.
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
    return labels.astype(np.uint8, copy=False)


def read_coloured_labels(path: Path, classes: ClassSet, void_colour: tuple[int, int, int]) -> UInt8Array:
    """A label image in the colours of its classes as (H, W) uint8: class ids, with void as 255.

    Args:
        path: an image with a palette, or in RGB; one of a single channel holds class ids.
        classes: ids and colours.
        void_colour: (r, g, b) of void.

    Raises:
        DatasetError: the file is missing, or has a colour that is no class's.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim == 2:
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
    return np.array([ids[colour] for colour in found], np.uint8)[where.reshape(image.shape[:2])]


def read_pair(
    image_path: Path, label_path: Path, classes: ClassSet, void_id: int | None = None
) -> tuple[UInt8Array, UInt8Array]:
    """:func:`read_image` and :func:`read_labels`, of equal size.

    Raises:
        DatasetError: as those, or the sizes differ.
    """
    image, labels = read_image(image_path), read_labels(label_path, classes, void_id)
    if image.shape[:2] != labels.shape:
        raise DatasetError(f'{image_path} is {image.shape[:2]} but {label_path} is {labels.shape}')
    return image, labels


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder, by file name without suffix, sorted.

    Raises:
        DatasetError: there is no such folder, no image in it, or two with one stem.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder} is no folder; expected one with images')
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise DatasetError(f'{found[path.stem]} and {path} share a stem; files are matched by it')
            found[path.stem] = path
    if not found:
        raise DatasetError(f'{folder} holds no image ({", ".join(IMAGE_SUFFIXES)})')
    return found


def pair_by_stem(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Pairs of files with one stem in two folders.

    Raises:
        DatasetError: as :func:`images_by_stem`, or an image has no labels.
    """
    label_of = images_by_stem(labels)
    pairs = []
    for stem, image in images_by_stem(images).items():
        if stem not in label_of:
            raise DatasetError(f'{image} has no label image of the same name in {labels}')
        pairs.append((image, label_of[stem]))
    return pairs


def pairs_of_split(root: Path, split: str, truth: str) -> list[tuple[Path, Path]]:
    """Images and what was drawn on them, of one split of a plain pair of folders, ``images/`` and ``truth/``.

    Both may hold the splits as sub-folders (``images/train``), the splits may hold the pair
    (``train/images``), or ``<split>.txt`` lists the stems that belong to a split. Without any of these every
    image belongs to every split.

    Raises:
        DatasetError: a folder or file is missing, or the split is empty.
    """
    if (root / 'images' / split).is_dir():
        return pair_by_stem(root / 'images' / split, root / truth / split)
    if (root / split / 'images').is_dir():
        return pair_by_stem(root / split / 'images', root / split / truth)
    pairs = pair_by_stem(root / 'images', root / truth)
    listing = root / f'{split}.txt'
    if not listing.is_file():
        return pairs
    stems = listing.read_text().split()
    absent = sorted(set(stems) - images_by_stem(root / 'images').keys())
    if absent:
        raise DatasetError(f'{listing} names {absent[0]}, which {root / "images"} does not hold')
    if not stems:
        raise DatasetError(f'{listing} is empty; expected the stems of the images of split {split}')
    wanted = set(stems)
    return [pair for pair in pairs if pair[0].stem in wanted]
