"""Writing a data set as a folder data set."""

from pathlib import Path

import yaml

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.images.files import write_image


class FolderWriter:
    """Writes one split: ``images/<split>/``, ``labels/<split>/`` and ``classes.yaml``.

    Args:
        root: Folder of the data set; it is created if it does not exist.
        split: Name of the split.
        classes: Classes of the labels.

    Raises:
        DatasetError: The folders of the split have files already.
    """

    def __init__(self, root: Path, split: str, classes: ClassSet) -> None:
        self._images, self._labels = (root / kind / split for kind in ('images', 'labels'))
        for folder in (self._images, self._labels):
            if folder.is_dir() and any(folder.iterdir()):
                raise DatasetError(f'{folder} has files already; choose another folder or split')
            folder.mkdir(parents=True, exist_ok=True)
        rows = yaml.safe_dump({'classes': classes.as_json()}, sort_keys=False, default_flow_style=None)
        (root / 'classes.yaml').write_text(rows)

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
