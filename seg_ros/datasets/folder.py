"""Data sets of the user: a folder of images and a folder of label images, or images alone."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_both, read_pair, read_translated_ids
from seg_ros.datasets.pairs import existing_folder, images_by_stem, names_of, pairs_of_split
from seg_ros.errors import DatasetError
from seg_ros.images.files import read_image
from seg_ros.resources import find_file
from seg_ros.userfiles.reading import is_folder


class FolderDataset:
    """One split of two folders, ``images/`` and ``labels/``; files match by name.

    The layouts of splits are those of :func:`seg_ros.datasets.pairs.pairs_of_split`.

    Args:
        root: Folder that has both.
        split: Name of the split.
        classes: Class file: name of a file in ``config/labels``, or a path, absolute or relative to ``root``.
        void_id: Value of void pixels in the label images, besides 255.
        values: Value in the label images -> name of a class, for masks: ``{0: background, 255: ball}``. Other
            values are refused, except ``void_id``. None = values are class ids.

    Raises:
        DatasetError: A file or folder is missing, or the split is empty.
        UnknownNameError: No shipped class file has the name.
    """

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        classes: str,
        void_id: int | None = None,
        values: dict[int, str] | None = None,
    ) -> None:
        root = existing_folder(root)
        self.classes = ClassSet.from_yaml(class_file(classes, root))
        self._void_id = void_id
        self._ids = None if values is None else _ids_of_values(values, self.classes, void_id)
        self._pairs = pairs_of_split(root, split, 'labels')
        self.names = names_of([image for image, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        if self._ids is None:
            return read_pair(*self._pairs[index], self.classes, self._void_id)
        ids = self._ids
        return read_both(*self._pairs[index], lambda path: read_translated_ids(path, ids))


class UnlabelledFolder:
    """Images of a folder as a data set without classes.

    Args:
        root: Folder with the images: in ``images/``, with the splits of :class:`FolderDataset`, or in
            ``<split>/``, or directly.
        split: Name of the split.

    Raises:
        DatasetError: The folder has no image.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        root = existing_folder(root)
        if is_folder(root / 'images') or is_folder(root / split / 'images'):
            self._paths = [image for image, _ in pairs_of_split(root, split, 'images')]
        else:
            self._paths = list(images_by_stem(root / split if is_folder(root / split) else root).values())
        self.classes = ClassSet(())
        self.names = names_of(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image = read_image(self._paths[index])
        return image, np.full(image.shape[:2], UNLABELLED, np.uint8)


def class_file(classes: str, root: Path) -> Path:
    """Path of a class file, given by its name in ``config/labels`` or by its path.

    Args:
        classes: Name or path; a relative path starts from ``root``.
        root: Root of the data set.

    Raises:
        UnknownNameError: No shipped class file has that name.
    """
    return find_file(classes, 'config/labels', ('.yaml', '.yml'), 'class file', root=root)


def _ids_of_values(values: dict[int, str], classes: ClassSet, void_id: int | None) -> dict[int, int]:
    """Value in label images -> class id, or 255 for void."""
    ids = {}
    for value, name in values.items():
        if not 0 <= value <= UNLABELLED or value == void_id:
            raise DatasetError(f'values: {value} is not a value from 0 to 255 beside void_id')
        ids[value] = classes.id_of(name)
    return ids if void_id is None else {**ids, void_id: UNLABELLED}
