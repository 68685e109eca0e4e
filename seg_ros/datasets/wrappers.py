"""Data sets that change another one: its classes, the size of its images, or their number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from seg_ros import schema
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.class_groups import ClassGroups
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import class_file
from seg_ros.datasets.walk import BAD_FILE, walk
from seg_ros.errors import ParameterError, RecipeError
from seg_ros.schema import Fraction


@dataclass(frozen=True)
class Relabel:
    """Translation of one data set's classes to those of another.

    Attributes:
        classes: Class set of the result: name of a file in ``config/labels``, or a path.
        names: Class of the data set -> class of the result, or, in training data, the classes of which a
            pixel has one. Classes that are left out become unlabelled.
        labelled: Minimum fraction of labelled pixels, 0..1. Images with fewer are left out.
    """

    classes: str
    names: Annotated[dict[str, str | tuple[str, ...]], Meta(min_length=1)]
    labelled: Fraction = 0.0

    def __post_init__(self) -> None:
        schema.check_fields(self, RecipeError)

    @property
    def has_groups(self) -> bool:
        """Whether a class becomes one of several."""
        return any(not isinstance(new, str) for new in self.names.values())


class Relabelled:
    """A data set with the classes of another one.

    Args:
        dataset: Data set with the images and the original labels.
        classes: Classes of the result.
        names: Name of a class of ``dataset`` -> name of a class of the result, or names of several of which
            a pixel has one. Classes that are left out become void.
        labelled: Minimum fraction of labelled pixels in the result, 0..1. Images with fewer are left out.
        groups: Numbers the groups of several classes; None refuses them.

    Raises:
        RecipeError: No image is left, or there are groups of classes where they are refused.
        UnknownNameError: ``names`` has a class that is in neither class set.
    """

    def __init__(
        self,
        dataset: Dataset,
        classes: ClassSet,
        names: Mapping[str, str | tuple[str, ...]],
        labelled: float = 0.0,
        groups: ClassGroups | None = None,
    ) -> None:
        self.classes = classes
        self._dataset = dataset
        self._table = np.full(256, UNLABELLED, np.uint8)
        for old, new in names.items():
            self._table[dataset.classes.id_of(old)] = _label(new, classes, groups)
        # Reading labels reads the images too, so labels are read only if the fraction matters.
        self._kept = [k for k in range(len(dataset)) if labelled == 0 or self._fraction(k) >= labelled]
        if not self._kept:
            raise RecipeError(
                f'relabel: no image has {labelled:.0%} of its pixels in {", ".join(names)}; lower "labelled"'
            )
        self.names = [dataset.names[k] for k in self._kept]

    @classmethod
    def by(cls, relabel: Relabel, dataset: Dataset, groups: ClassGroups | None = None) -> 'Relabelled':
        """Apply the translation of a recipe.

        Raises:
            RecipeError: No image is left, or there are groups of classes where they are refused.
            UnknownNameError: A class, or the class file, is unknown.
        """
        classes = ClassSet.from_yaml(class_file(relabel.classes, Path()))
        return cls(dataset, classes, relabel.names, relabel.labelled, groups)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image, labels = self._dataset[self._kept[index]]
        return image, self._table[labels]

    def _fraction(self, index: int) -> float:
        """Fraction of pixels that the translation labels; 1 for a bad file, which reading reports."""
        try:
            labels = self._dataset[index][1]
        except BAD_FILE:
            return 1.0
        return float((self._table[labels] != UNLABELLED).mean())


class Resized:
    """A data set with images of another size.

    It brings objects to the size that they have in the other training data.

    Args:
        dataset: Data set with the original images.
        scale: Factor for width and height, above 0.
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


class EvenSample:
    """Images of a data set, spread evenly over it.

    Args:
        dataset: Data set to choose from.
        n_images: Maximum number of images, 1 or more.

    Attributes:
        n_available: Number of images of the data set.

    Raises:
        ParameterError: ``n_images`` is less than 1.
    """

    def __init__(self, dataset: Dataset, n_images: int) -> None:
        if n_images < 1:
            raise ParameterError(f'{n_images} images of a data set; expected 1 or more')
        self.n_available = len(dataset)
        n_images = min(n_images, len(dataset))
        self._dataset = dataset
        self._indices = [k * len(dataset) // n_images for k in range(n_images)]
        self.classes = dataset.classes
        self.names = [dataset.names[index] for index in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self._dataset[self._indices[index]]

    def with_progress(self, label: str) -> Iterator[tuple[UInt8Array, UInt8Array]]:
        """Read all images and labels in order, with a progress bar; see seg_ros.datasets.walk."""
        for _, pair in walk(self, label):
            yield pair


def _label(names: str | tuple[str, ...], classes: ClassSet, groups: ClassGroups | None) -> int:
    """Label of one class, or of several of which a pixel has one."""
    if isinstance(names, str):
        return classes.id_of(names)
    if groups is None or not names:
        where = 'one or more classes' if names else 'one class'
        raise RecipeError(
            f'relabel: {list(names)} for one class; expected {where}. Only training data may have several, '
            'of which a pixel has one'
        )
    return groups.id_of([classes.id_of(name) for name in names])
