"""Class sets: ids, names and colours of the classes that a network can assign to a pixel."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from msgspec import Meta

from seg_ros import schema
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import DatasetError

Channel = Annotated[int, Meta(ge=0, le=255)]


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Attributes:
        id: Value in label images.
        name: Name, unique in its class set.
        colour: (r, g, b), 0..255 each.

    Raises:
        DatasetError: A value has the wrong type, or the colour is out of range.
    """

    id: int
    name: str
    colour: tuple[Channel, Channel, Channel]

    def __post_init__(self) -> None:
        schema.check_fields(self, DatasetError)

    def as_json(self) -> dict[str, Any]:
        """The form in model files and JSON reports."""
        return {'id': self.id, 'name': self.name, 'colour': list(self.colour)}


@dataclass(frozen=True)
class ClassSet:
    """The classes of a network, with ids 0 .. n - 1 in order; empty for a network that gives codes only.

    Raises:
        DatasetError: Ids are not 0 .. n - 1, names repeat, or there are more than 255 classes.
    """

    classes: tuple[ClassInfo, ...]

    def __post_init__(self) -> None:
        schema.check_fields(self, DatasetError)
        ids = [c.id for c in self.classes]
        if len(ids) > UNLABELLED or ids != list(range(len(ids))):
            raise DatasetError(
                f'class ids are {ids}; expected 0, 1, 2, ... without gaps, at most {UNLABELLED} of them'
            )
        if len(set(self.names)) != len(ids):
            raise DatasetError(f'class names are {self.names}; expected each name once')

    @classmethod
    def from_json(cls, rows: Any) -> 'ClassSet':
        """Build from a list of rows with keys ``id``, ``name`` and ``colour``.

        Raises:
            DatasetError: The rows are not a class set.
        """
        return schema.build(cls, {'classes': rows}, 'class set', DatasetError)

    @classmethod
    def from_yaml(cls, path: Path) -> 'ClassSet':
        """Read ``config/labels/*.yaml``: a mapping with the single key ``classes``.

        Raises:
            DatasetError: The file cannot be read or does not hold a class set.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, yaml.YAMLError) as err:
            raise DatasetError(f'class file {path} cannot be read: {err}') from err
        return schema.build(cls, content, f'class file {path}', DatasetError)

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
        """(256, 3) uint8 RGB: a colour for every value of a label image, black for values without a class."""
        table = np.zeros((256, 3), np.uint8)
        for row in self.classes:
            table[row.id] = row.colour
        return table
