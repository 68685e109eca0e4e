"""Classes of a model that are finer than those of a data set, or other ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_ros import schema
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.resources import find_file
from seg_ros.userfiles.reading import shown_path
from seg_ros.userfiles.yaml import read_yaml


class ClassTranslation:
    """Classes of a model that are right for each class of a data set.

    Args:
        names: Class of the data set -> class of the model, or several of them. Classes of the data set that
            are left out become void.
        data: Classes of the data set.
        model: Classes of the model.

    Raises:
        UnknownNameError: A class is in neither set.
    """

    def __init__(self, names: Mapping[str, str | tuple[str, ...]], data: ClassSet, model: ClassSet) -> None:
        self.allowed: npt.NDArray[np.bool_] = np.zeros((len(data), len(model)), np.bool_)
        """(D, K): whether class k of the model is right where class d of the data set is."""
        for old, new in names.items():
            row = self.allowed[data.id_of(old)]
            for name in (new,) if isinstance(new, str) else new:
                row[model.id_of(name)] = True
        is_known = self.allowed.any(axis=1)
        self._truth = _table(np.where(is_known, np.arange(len(data)), UNLABELLED))
        self._counts_as = _table(np.where(self.allowed.any(axis=0), self.allowed.argmax(axis=0), UNLABELLED))
        padded = np.zeros((256, 256), np.bool_)
        padded[: len(data), : len(model)] = self.allowed
        self._is_right = padded

    @classmethod
    def between(cls, data: ClassSet, model: ClassSet, names: str | Path | None) -> 'ClassTranslation':
        """The translation in a file; without one, both must have the same classes.

        Args:
            data: Classes of the data set.
            model: Classes of the model.
            names: Name of a file in ``config/translations``, path of a YAML file, or None.

        Raises:
            DatasetError: There is no file and the classes differ, or the file holds something else.
            UnknownNameError: A class is in neither set.
        """
        if names is not None:
            return cls(_read(names), data, model)
        if data.names != model.names:
            raise DatasetError(
                f'the model has classes {model.names}, the data set {data.names}; choose a model with the '
                'same classes, or give --names, a file that translates them'
            )
        return cls({name: name for name in data.names}, data, model)

    def true_labels(self, truth: UInt8Array) -> UInt8Array:
        """Labels of the data set, (H, W) uint8, with 255 where no class of the model is right."""
        return self._truth[truth]

    def as_data(self, truth: UInt8Array, labels: UInt8Array) -> UInt8Array:
        """Labels of a model as labels of the data set, (H, W) uint8.

        A class of the model that is right for several classes counts as the true one where it is right, and
        as the first of them elsewhere. 255 stays, and so does what is right nowhere.
        """
        return np.where(self.is_right(truth, labels), truth, self._counts_as[labels])

    def is_right(self, truth: UInt8Array, labels: UInt8Array) -> npt.NDArray[np.bool_]:
        """(H, W): whether labels of a model are right for labels of the data set."""
        right: npt.NDArray[np.bool_] = self._is_right[truth, labels]
        return right


def _read(names: str | Path) -> dict[str, str | tuple[str, ...]]:
    path = find_file(names, 'config/translations', ('.yaml', '.yml'), 'translation of classes')
    content = read_yaml(path, 'translation of classes', DatasetError)
    checked: dict[str, str | tuple[str, ...]] = schema.check_value(
        dict[str, str | tuple[str, ...]], content, shown_path(path), DatasetError
    )
    return checked


def _table(values: npt.NDArray[np.int64]) -> UInt8Array:
    """(256,) uint8: the values, then 255."""
    table = np.full(256, UNLABELLED, np.uint8)
    table[: len(values)] = values
    return table
