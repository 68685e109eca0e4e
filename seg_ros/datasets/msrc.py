"""MSRC v2 with cleaned masks as a data set of classes; seg_ros.datasets.segmented has it as segments.

J. Shotton et al., "TextonBoost for image understanding", IJCV 2009.
"""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import existing_folder, pairs_of_split, read_ids, read_image
from seg_ros.errors import DatasetError
from seg_ros.resources import resource


class MSRC:
    """One split of MSRC v2: ``images/``, ``classes/`` (1..23, 0 = void) and ``<split>.txt``.

    Args:
        root: the folder that holds them.
        split: 'train', 'val', 'test', or a list of your own; without lists, all images.

    Raises:
        DatasetError: a folder or file is missing, the split is empty, or a label is no class.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        self.classes = ClassSet.from_yaml(resource('config/labels/msrc23.yaml'))
        self._pairs = pairs_of_split(existing_folder(root), split, 'classes')
        self.names = [image.stem for image, _ in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self._pairs[index]
        image, ids = read_image(image_path), read_ids(label_path)
        if image.shape[:2] != ids.shape:
            raise DatasetError(f'{image_path} is {image.shape[:2]} but {label_path} is {ids.shape}')
        if ids.max() > len(self.classes):
            raise DatasetError(f'{label_path} holds {ids.max()}; expected 0 (void) to {len(self.classes)}')
        return image, ids - np.uint8(1)  # 0 becomes 255
