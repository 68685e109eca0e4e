"""Data sets made fit to learn from beside others: their classes under other names, their images smaller."""

from collections.abc import Mapping

import cv2
import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import RecipeError, UnknownNameError


class Relabelled:
    """A data set whose classes count as those of another class set, where that has such; else they are void.

    Args:
        dataset: to read.
        classes: what its labels become.
        names: name of one of its classes -> name of one of ``classes``; classes that it leaves out are void.
        labelled: share of pixels that must have a class then, 0..1; images with fewer are left out.

    Raises:
        UnknownNameError: ``names`` has a class that is not there.
        RecipeError: no image is left.
    """

    def __init__(
        self, dataset: Dataset, classes: ClassSet, names: Mapping[str, str], labelled: float = 0.0
    ) -> None:
        self.classes = classes
        self._dataset = dataset
        self._table = np.full(256, UNLABELLED, np.uint8)
        for old, new in names.items():
            self._table[_id(old, dataset.classes)] = _id(new, classes)
        # To look at the labels is to read the images too, so only where it decides something.
        self._kept = [k for k in range(len(dataset)) if labelled == 0 or self._share(k) >= labelled]
        if not self._kept:
            raise RecipeError(f'relabel: no image has {labelled:.0%} of its pixels in {", ".join(names)}')
        self.names = [dataset.names[k] for k in self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image, labels = self._dataset[self._kept[index]]
        return image, self._table[labels]

    def _share(self, index: int) -> float:
        return float((self._table[self._dataset[index][1]] != UNLABELLED).mean())


class Resized:
    """A data set in another size: things as large as those in the images that it is to be learnt with.

    Args:
        dataset: to read.
        scale: of width and height, above 0.
    """

    def __init__(self, dataset: Dataset, scale: float) -> None:
        self.classes, self.names = dataset.classes, dataset.names
        self._dataset, self._scale = dataset, scale

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image, labels = self._dataset[index]
        height, width = (max(1, round(length * self._scale)) for length in labels.shape)
        how = cv2.INTER_AREA if self._scale < 1 else cv2.INTER_LINEAR
        return (
            np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8),
            np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8),
        )


def _id(name: str, classes: ClassSet) -> int:
    if name not in classes.names:
        raise UnknownNameError('class', name, classes.names)
    return classes.names.index(name)
