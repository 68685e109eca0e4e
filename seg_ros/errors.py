"""The exceptions of seg_ros, and look-up in tables by name.

The exceptions form one tree, so that one ``except`` clause catches them all.

Each message gives the value found, the value expected and a remedy::

    SegRosError
    ├── ImageError          an image, or a message that carries one, cannot be read
    ├── BagError            a bag cannot be read or has no usable topic
    ├── DatasetError        a data set folder lacks files or holds impossible labels
    ├── RecipeError         a training recipe has a wrong or unknown key
    ├── ModelFileError      a model file is missing, truncated, hostile or of another kind
    │   └── SelfCheckError  a model does not reproduce its own golden record
    ├── ParameterError      a parameter value is refused
    ├── BudgetError         a network cannot be reduced to the budget
    ├── CalibrationError    the calibration record is missing or was measured on unsuitable images
    ├── UnknownNameError    a name is not in its table; the message lists the known names
    ├── BackendError        a backend cannot be built, or failed on an image
    └── UnavailableError    this computer or this file does not offer the requested feature
"""

from collections import UserDict
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any, TypeVar

T = TypeVar('T')


class SegRosError(Exception):
    """Base class of every error that seg_ros raises on purpose."""


class ImageError(SegRosError, ValueError):
    """An image, or a message that carries one, cannot be read."""


class BagError(SegRosError, ValueError):
    """A bag cannot be read, or has no topic of the expected kind."""


class DatasetError(SegRosError, ValueError):
    """A data set folder lacks files, or holds labels outside its class set."""


class RecipeError(SegRosError, ValueError):
    """A training recipe has a missing, wrong or unknown key."""


class ModelFileError(SegRosError, ValueError):
    """A model file is missing, truncated, hostile or of another version."""


class SelfCheckError(ModelFileError):
    """A loaded model does not reproduce the golden record in its file."""


class ParameterError(SegRosError, ValueError):
    """A parameter value is refused."""


class BudgetError(SegRosError, ValueError):
    """A network cannot be reduced to the budget; the message gives the smallest size reached."""


class CalibrationError(SegRosError, ValueError):
    """The record of activation ranges for 8-bit computation is missing or unsuitable."""


class UnknownNameError(SegRosError, LookupError):
    """A name is not in its table; the message lists the known names."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        shown = name if name.isprintable() and len(name) <= 100 else ascii(name[:100])[1:-1]
        super().__init__(f"unknown {kind} '{shown}'; known: {', '.join(known) or 'none'}")


class BackendError(SegRosError, RuntimeError):
    """A backend cannot be built, or failed on an image; the message gives the reason, e.g. memory."""


class TransportError(SegRosError, RuntimeError):
    """The middleware can no longer deliver anything to this process."""


class UnavailableError(SegRosError, RuntimeError):
    """This computer, or this model file, does not offer the requested feature."""


class LazyTable(UserDict[str, T]):
    """A table of objects by name, each of which is imported when it is first looked up.

    Args:
        entries: Name -> ``'module:object'``, or the object itself.
    """

    def __init__(self, entries: Mapping[str, Any]) -> None:
        super().__init__()
        self.data.update(entries)

    def __getitem__(self, name: str) -> T:
        entry: Any = self.data[name]
        if isinstance(entry, str):
            entry = self.data[name] = resolve_name(entry)
        return entry  # type: ignore[no-any-return]


def look_up(table: Mapping[str, T], name: str, kind: str) -> T:
    """Entry of a table.

    Args:
        table: Entries by name.
        name: Name of the entry.
        kind: Kind of the entry, for the error message.

    Raises:
        UnknownNameError: The name is not in the table; the message lists the known ones.
    """
    if name not in table:
        raise UnknownNameError(kind, name, sorted(table))
    return table[name]
