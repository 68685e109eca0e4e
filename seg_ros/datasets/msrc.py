"""MSRC v2 with cleaned masks and its classes; seg_ros.datasets.segmented has its segments.

J. Shotton et al., "TextonBoost for image understanding", IJCV 2009.
"""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_both, read_ids
from seg_ros.datasets.pairs import existing_folder, names_of, pairs_of_split
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.userfiles.reading import shown_path


class MSRC:
    """One split of MSRC v2: ``images/``, ``classes/`` (1..23, 0 = void) and ``<split>.txt``.

    Args:
        root: Folder that has them.
        split: Name of a list: 'train', 'val', 'test', or another one. Without lists, a split is all images.

    Raises:
        DatasetError: A folder or file is missing, the split is empty, or a label is not a class.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        self.classes = ClassSet.from_yaml(resource('config/labels/msrc23.yaml'))
        self._pairs = pairs_of_split(existing_folder(root), split, 'classes')
        self.names = names_of([image for image, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self._pairs[index]
        image, ids = read_both(image_path, label_path, read_ids)
        if ids.max() > len(self.classes):
            raise DatasetError(
                f'{shown_path(label_path)} holds {ids.max()}; expected 0 (void) to {len(self.classes)}'
            )
        return image, ids - np.uint8(1)  # 0 becomes 255
