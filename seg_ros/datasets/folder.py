"""Your own data: a folder of images and a folder of label images, matched by file name; or images alone."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import existing_folder, images_by_stem, pairs_of_split, read_image, read_pair
from seg_ros.resources import find_file


class FolderDataset:
    """One split of a plain pair of folders: ``images/`` and ``labels/``.

    Both may hold the splits as sub-folders (``images/train``), the splits may hold the pair
    (``train/images``), or ``<split>.txt`` lists the stems that belong to a split. Without any of these every
    image belongs to every split.

    Args:
        root: the folder.
        split: its part.
        classes: a file of ``config/labels`` by name, or the path of one, absolute or relative to ``root``.
        void_id: value of the label images that means void besides 255.

    Raises:
        DatasetError: a file or folder is missing, or the split is empty.
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

    They lie as those of a ``folder`` data set do (``images/``, with splits), or in ``<split>/`` or the folder
    itself.

    Raises:
        DatasetError: there is no image.
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
