"""Parameters, as the annotations of fields of seg_ros.inference.settings.Settings describe them."""

import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from msgspec import Meta

T = TypeVar('T')
Value = bool | int | float | str

GROUPS = ('camera', 'embedding_filter', 'segments')
"""Prefixes of parameter names: the field ``segments_history`` is the parameter ``segments.history``."""


class Mutability(Enum):
    """When a new value is accepted; ANY_TIME unless a field says otherwise.

    RELOAD parameters decide how a model is loaded. A running node loads it in the background, and goes on
    with the values before if that fails.
    """

    ANY_TIME = 'any time'
    RELOAD = 'any time; the model is loaded again in the background'
    UNCONFIGURED = 'before configure'
    NEVER = 'only at start'


class Scope(Enum):
    """Users of a parameter; NODE unless a field says otherwise."""

    NODE = 'the node'
    MODEL = 'every command that runs a model, and the node'


@dataclass(frozen=True)
class Choices:
    """Strings that a parameter accepts."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhysicalUnit:
    """Unit of a parameter; '' = none."""

    symbol: str = ''


@dataclass(frozen=True)
class OrZero:
    """Whether a parameter accepts 0 below its minimum; 0 then has a meaning of its own."""

    is_accepted: bool = False


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: Name, with a dot behind a prefix in GROUPS.
        field: Name of the field of :class:`Settings`.
        default: Default value, of the parameter's type.
        doc: Description in a sentence or two.
        unit: PhysicalUnit of the value; '' = none.
        minimum: Smallest accepted value; None = no range.
        maximum: Largest accepted value; None = no range.
        zero_too: Whether 0 is accepted below the minimum, with a meaning of its own.
        choices: Accepted strings; None = any.
        change: When a new value is accepted.
        scope: Users of the parameter.
    """

    name: str
    field: str
    default: Value
    doc: str
    unit: str = ''
    minimum: float | None = None
    maximum: float | None = None
    zero_too: bool = False
    choices: tuple[str, ...] | None = None
    change: Mutability = Mutability.ANY_TIME
    scope: Scope = Scope.NODE

    @classmethod
    def of_field(cls, field: str, default: Any, hint: Any) -> 'Parameter':
        """The parameter of a field of :class:`Settings`.

        Args:
            field: Name of the field.
            default: Its default value.
            hint: Its annotation.
        """
        notes = typing.get_args(hint)[1:]
        bounds = _find(notes, Meta())
        return cls(
            name_of(field),
            field,
            default,
            bounds.description or '',
            _find(notes, PhysicalUnit()).symbol,
            None if bounds.ge is None else type(default)(bounds.ge),
            None if bounds.le is None else type(default)(bounds.le),
            _find(notes, OrZero()).is_accepted,
            _find(notes, Choices()).names or None,
            _find(notes, Mutability.ANY_TIME),
            _find(notes, Scope.NODE),
        )

    @property
    def constraint(self) -> str:
        """Range, choices and unit in words, for descriptors and documents."""
        parts = []
        if self.choices:
            parts.append(' | '.join(self.choices))
        if self.minimum is not None:
            parts.append(f'{"0, " if self.zero_too else ""}{self.minimum:g} .. {self.maximum:g}')
        return ' '.join([*parts, self.unit]).strip()


def name_of(field: str) -> str:
    """Name of the parameter of a field of :class:`Settings`."""
    for group in GROUPS:
        if field.startswith(f'{group}_'):
            return f'{group}.{field.removeprefix(f"{group}_")}'
    return field


def field_of(name: str) -> str:
    """Name of the field of :class:`Settings` that holds a parameter."""
    return name.replace('.', '_')


def _find(notes: tuple[Any, ...], default: T) -> T:
    """The note of the same type as ``default`` in an annotation."""
    return next((note for note in notes if type(note) is type(default)), default)
