"""Bounds on the arguments of an architecture, which come from a file."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from seg_ros import schema
from seg_ros.errors import ModelFileError

ARGUMENT_LIMIT = 4096
"""Maximum magnitude of a number among the arguments of an architecture."""

N_ARGUMENTS_LIMIT = 32


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of an architecture that are too many, too large or not plain values.

    Raises:
        ModelFileError: An argument is refused.
    """
    if len(arguments) > N_ARGUMENTS_LIMIT:
        raise ModelFileError(f'arguments has {len(arguments)} entries; expected {N_ARGUMENTS_LIMIT} at most')
    for name, value in arguments.items():
        parts = value if isinstance(value, list) else [value]
        if len(parts) > N_ARGUMENTS_LIMIT or not all(_is_plain(part) for part in parts):
            raise ModelFileError(
                f'arguments.{name} is {schema.shown(value)}; expected a text, or numbers of magnitude '
                f'{ARGUMENT_LIMIT} at most'
            )


def check_argument_types(build: Callable[..., object], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments whose type is not the one that an architecture declares, such as 1 for True.

    Args:
        build: Class of the network, or a function that makes one.
        arguments: Keyword arguments; unknown ones are left to ``build``.

    Raises:
        ModelFileError: An argument has another type.
    """
    hints = typing.get_type_hints(build.__init__ if inspect.isclass(build) else build)
    for name, value in arguments.items():
        if hints.get(name) in (int, float, str, bool):
            schema.check_value(hints[name], value, f'arguments.{name}', ModelFileError)


def _is_plain(value: object) -> bool:
    if value is None or isinstance(value, (bool, str)):
        return True
    return isinstance(value, (int, float)) and -ARGUMENT_LIMIT <= value <= ARGUMENT_LIMIT
