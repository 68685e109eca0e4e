"""Cityscapes in its published layout: leftImg8bit/<split>/<city>/ and gtFine/<split>/<city>/.

M. Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016.
"""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_both, read_ids
from seg_ros.datasets.pairs import existing_folder
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.userfiles.reading import shown_path

_EVALUATED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Ids of the evaluated classes, in the order of their train ids; all others are void."""
_IMAGE = '_leftImg8bit'


class Cityscapes:
    """One split of Cityscapes, with the 19 classes of its evaluation.

    Args:
        root: Folder that has ``leftImg8bit/`` and ``gtFine/``.
        split: 'train', 'val' or 'test'. The labels of test are not public, so its images are all void.
        annotation: Folder of the annotations: 'gtFine' or 'gtCoarse'.

    Raises:
        DatasetError: A folder is missing or empty, or not one image has labels.
    """

    def __init__(self, root: Path | None, split: str, *, annotation: str = 'gtFine') -> None:
        root = existing_folder(root)
        self.classes = ClassSet.from_yaml(resource('config/labels/cityscapes19.yaml'))
        folder = root / 'leftImg8bit' / split
        images = sorted(p for p in folder.glob(f'*/*{_IMAGE}.*') if not p.name.startswith('.'))
        if not images:
            raise DatasetError(f'{folder} has no <city>/*{_IMAGE}.png; expected a split of Cityscapes')
        stems = [path.stem.removesuffix(_IMAGE) for path in images]
        self.names = [shown_path(stem) for stem in stems]
        self._pairs = []
        for image, name in zip(images, stems, strict=True):
            labels = root / annotation / split / image.parent.name / f'{name}_{annotation}_labelIds.png'
            self._pairs.append((image, labels))
        if not any(labels.is_file() for _, labels in self._pairs):
            image, labels = self._pairs[0]
            raise DatasetError(f'{shown_path(image)} has no labels; expected {shown_path(labels)}')
        self._train_ids = np.full(256, UNLABELLED, np.uint8)
        self._train_ids[list(_EVALUATED)] = range(len(_EVALUATED))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self._pairs[index]
        return read_both(image_path, label_path, lambda path: self._train_ids[read_ids(path)])
