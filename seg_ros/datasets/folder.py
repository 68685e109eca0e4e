"""Data sets of the user: a folder of images and a folder of label images, or images alone."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_pair
from seg_ros.datasets.pairs import existing_folder, images_by_stem, pairs_of_split
from seg_ros.images.files import read_image
from seg_ros.resources import find_file


class FolderDataset:
    """One split of two folders, ``images/`` and ``labels/``; files match by name.

    The layouts of splits are those of :func:`seg_ros.datasets.pairs.pairs_of_split`.

    Args:
        root: Folder that has both.
        split: Name of the split.
        classes: Class file: name of a file in ``config/labels``, or a path, absolute or relative to ``root``.
        void_id: Value of void pixels in the label images, besides 255.

    Raises:
        DatasetError: A file or folder is missing, or the split is empty.
        UnknownNameError: No shipped class file has the name.
    """

    def __init__(self, root: Path | None, split: str, *, classes: str, void_id: int | None = None) -> None:
        root = existing_folder(root)
        self.classes = ClassSet.from_yaml(class_file(classes, root))
        self._void_id = void_id
        self._pairs = pairs_of_split(root, split, 'labels')
        self.names = [image.stem for image, _ in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return read_pair(*self._pairs[index], self.classes, self._void_id)


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
        if (root / 'images').is_dir() or (root / split / 'images').is_dir():
            self._paths = [image for image, _ in pairs_of_split(root, split, 'images')]
        else:
            self._paths = list(images_by_stem(root / split if (root / split).is_dir() else root).values())
        self.classes = ClassSet(())
        self.names = [path.stem for path in self._paths]

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
