"""Class sets: ids, names and colours of the classes that a network can assign to a pixel."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from seg_ros import schema
from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.errors import DatasetError, UnknownNameError
from seg_ros.userfiles.reading import shown_path
from seg_ros.userfiles.yaml import read_yaml

Channel = Annotated[int, Meta(ge=0, le=255)]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]


@dataclass(frozen=True)
class ClassInfo:
    """One class.

    Attributes:
        id: Value in label images.
        name: Name, unique in its class set: 1..100 characters, no control characters.
        colour: (r, g, b), 0..255 each.

    Raises:
        DatasetError: A value has the wrong type or is out of range, or the name is blank.
    """

    id: Channel
    name: _Name
    colour: tuple[Channel, Channel, Channel]

    def __post_init__(self) -> None:
        schema.check_fields(self, DatasetError)
        is_name = schema.is_plain_text(self.name) and bool(self.name.strip())
        schema.require(is_name, 'name', self.name, 'text without control characters', DatasetError)

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

        Names are read as they are written: ``name: no`` is the name 'no'.

        Raises:
            DatasetError: The file cannot be read or does not hold a class set.
        """
        content = read_yaml(path, 'class file', DatasetError, text_keys=('name',))
        return schema.build(cls, content, f'class file {shown_path(path)}', DatasetError)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """Class names in the order of their ids."""
        return [c.name for c in self.classes]

    def id_of(self, name: str, kind: str = 'class') -> int:
        """Id of a class.

        Args:
            name: Name of the class.
            kind: Kind of the name, for the error message.

        Raises:
            UnknownNameError: There is no such class; the message lists those that there are.
        """
        if name not in self.names:
            raise UnknownNameError(kind, name, self.names)
        return self.names.index(name)

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
