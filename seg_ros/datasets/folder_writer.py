"""Writing a data set as a folder data set."""

import os
from pathlib import Path

import yaml

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.images.files import write_image
from seg_ros.userfiles.reading import is_file, is_folder, shown_path


class FolderWriter:
    """Writes one split: ``images/<split>/``, ``labels/<split>/`` and ``classes.yaml``.

    Args:
        root: Folder of the data set; it is created if it does not exist.
        split: Name of the split.
        classes: Classes of the labels.

    Raises:
        DatasetError: The folders of the split have files already, or cannot be made, or ``root`` has other
            classes.
    """

    def __init__(self, root: Path, split: str, classes: ClassSet) -> None:
        self._images, self._labels = (root / kind / split for kind in ('images', 'labels'))
        for folder in (self._images, self._labels):
            if is_folder(folder) and any(folder.iterdir()):
                raise DatasetError(f'{shown_path(folder)} has files already; choose another folder or split')
        listing = root / 'classes.yaml'
        is_there = is_file(listing)
        if is_there and ClassSet.from_yaml(listing) != classes:
            raise DatasetError(f'{shown_path(listing)} has other classes already; choose another folder')
        prepare_file(listing)
        for folder in (self._images, self._labels):
            prepare_file(folder / '0.png')
        if not is_there:
            rows = yaml.safe_dump({'classes': classes.as_json()}, sort_keys=False, default_flow_style=None)
            listing.write_text(rows)

    def add(self, name: str, image: UInt8Array, labels: UInt8Array) -> None:
        """Write an image and its labels as PNG files.

        Args:
            name: File name without suffix.
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8 class ids; 255 = void.

        Raises:
            ImageError: A file cannot be written.
        """
        write_image(self._images / f'{name}.png', image)
        write_image(self._labels / f'{name}.png', labels)


def prepare_file(path: Path) -> None:
    """Make the folder of a file that will be written.

    Raises:
        DatasetError: The folder cannot be made or does not allow new files, or the path is that of a folder.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise DatasetError(
            f'folder {shown_path(folder)} cannot be made: {err.strerror}; choose another place'
        ) from err
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DatasetError(f'folder {shown_path(folder)} does not allow new files; choose another place')
    if is_folder(path):
        raise DatasetError(f'{shown_path(path)} is a folder; expected the name of a file')
