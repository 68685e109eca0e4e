"""Class sets: the ids, names and colours of what a network can say about a pixel."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import DatasetError


@dataclass(frozen=True)
class ClassInfo:
    """One class: its id in label images, its name, and its colour as (r, g, b), 0..255 each."""

    id: int
    name: str
    colour: tuple[int, int, int]

    def as_json(self) -> dict[str, Any]:
        """The form that model files and JSON reports use."""
        return {'id': self.id, 'name': self.name, 'colour': list(self.colour)}


@dataclass(frozen=True)
class ClassSet:
    """The classes of a network, with ids 0 .. n - 1 in order; none for a network that gives codes alone.

    Raises:
        DatasetError: ids are not 0 .. n - 1, names repeat, or there are more than 255 classes.
    """

    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        if len(ids) > UNLABELLED or ids != list(range(len(ids))):
            raise DatasetError(
                f'class ids are {ids}; expected 0, 1, 2, ... without gaps, at most {UNLABELLED} of them'
            )
        if len(set(self.names)) != len(ids):
            raise DatasetError(f'class names are {self.names}; each must be there once')
        for c in self.classes:
            if len(c.colour) != 3 or not all(0 <= v <= 255 for v in c.colour):
                raise DatasetError(f"colour of class '{c.name}' is {c.colour}; expected r, g, b in 0..255")

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> 'ClassSet':
        """Build from rows with keys ``id``, ``name`` and ``colour``."""
        try:
            return cls(
                tuple(
                    ClassInfo(int(r['id']), str(r['name']), (int(c[0]), int(c[1]), int(c[2])))
                    for r in rows
                    for c in [r['colour']]
                )
            )
        except (KeyError, TypeError, IndexError, ValueError, OverflowError) as err:
            if isinstance(err, DatasetError):
                raise
            raise DatasetError(
                f'a class has keys id, name, colour [r, g, b]; reading one failed with {err!r}'
            ) from err

    @classmethod
    def from_yaml(cls, path: Path) -> 'ClassSet':
        """Read ``config/labels/*.yaml``: a mapping with the one key ``classes``."""
        try:
            return cls.from_json(yaml.safe_load(path.read_text())['classes'])
        except (OSError, yaml.YAMLError, KeyError, TypeError) as err:
            raise DatasetError(f"class file {path} cannot be read: {err}; expected a key 'classes'") from err

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return [c.name for c in self.classes]

    def as_json(self) -> list[dict[str, Any]]:
        """Rows with keys ``id``, ``name`` and ``colour``."""
        return [c.as_json() for c in self.classes]

    @cached_property
    def palette(self) -> UInt8Array:
        """(256, 3) uint8 RGB, a colour for every value of a label image; black where there is no class."""
        table = np.zeros((256, 3), np.uint8)
        for row in self.classes:
            table[row.id] = row.colour
        return table
