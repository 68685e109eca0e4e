"""JSON of model files, read with bounds: no key twice, no huge numbers, no deep nesting, no hidden text.

Whoever sends a model file chooses every byte of it, and its text reaches logs and terminals. So names are
short and printable, and the size of a result is bounded by the size of the text.
"""

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

from seg_ros import schema
from seg_ros.errors import ModelFileError

DEPTH_LIMIT = 24
"""Maximum nesting of objects and lists."""

NAME_LIMIT = 200
"""Maximum number of characters of a key or of a name."""

TEXT_LIMIT = 16_384
"""Maximum number of characters of any other text."""

_DIGITS_LIMIT = 4000  # Python itself refuses integers of more than 4300 digits
_LARGEST_INTEGER = 2**63
_MESSAGE_LIMIT = 1000
_HIDDEN = ('Cc', 'Cf', 'Cs', 'Zl', 'Zp')
"""Unicode categories of controls, formats such as reversed writing, lone surrogates, and line separators."""

_JOINERS = '\u200c\u200d'
"""Formats that writing in Persian and in Indian scripts needs."""


def parse(text: str, where: str, text_limit: int = TEXT_LIMIT) -> Any:
    """Parse JSON text.

    Args:
        text: The text.
        where: Name of the text for error messages.
        text_limit: Maximum number of characters of a text in it.

    Raises:
        ModelFileError: The text is not JSON, has a key twice, a number of thousands of digits or nesting
            deeper than DEPTH_LIMIT, or a text in it is too long or has control characters.
    """
    try:
        content = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except (ValueError, RecursionError) as err:
        raise ModelFileError(f'{where} is not JSON: {err}') from err
    _check_texts(content, where, text_limit)
    return content


def check_name(text: str, where: str, limit: int = NAME_LIMIT) -> None:
    """Refuse a name that is long, or has control characters or line breaks.

    Args:
        text: The name.
        where: Its place, for error messages.
        limit: Maximum number of characters.

    Raises:
        ModelFileError: The name is refused.
    """
    _check_text(text, where, limit, _JOINERS)


def check_record(content: Any, where: str) -> None:
    """Refuse numbers in free JSON content that are infinite, or integers that 64 bits cannot hold.

    NaN is allowed: it stands for a figure that could not be measured.

    Raises:
        ModelFileError: A number is refused.
    """
    for value, _ in _walk(content):
        is_wide = isinstance(value, int) and not -_LARGEST_INTEGER <= value < _LARGEST_INTEGER
        if is_wide or (isinstance(value, float) and math.isinf(value)):
            raise ModelFileError(f'{where} contains {schema.shown(value)}; expected finite 64-bit numbers')


def one_line(text: str) -> str:
    """A text for a message: its first thousand characters, with hidden ones escaped."""
    escaped = ''.join(
        ascii(c)[1:-1] if unicodedata.category(c) in _HIDDEN else c for c in text[:_MESSAGE_LIMIT]
    )
    return f'{escaped}...' if len(text) > _MESSAGE_LIMIT else escaped


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice, n = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f'key {schema.shown(twice)} occurs {n} times in one object')
    return result


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError(f'a number of {len(digits)} digits')
    return int(digits)


def _walk(content: Any) -> Iterator[tuple[Any, bool]]:
    """All values in JSON content, and whether each is a key; deeper nesting than DEPTH_LIMIT is refused."""
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEPTH_LIMIT:
            raise ModelFileError(f'nesting of more than {DEPTH_LIMIT} levels; expected less')
        yield value, False
        if isinstance(value, dict):
            for key in value:
                yield key, True
            waiting += [(entry, depth + 1) for entry in value.values()]
        elif isinstance(value, (list, tuple)):
            waiting += [(entry, depth + 1) for entry in value]


def _check_texts(content: Any, where: str, limit: int) -> None:
    try:
        for value, is_key in _walk(content):
            if isinstance(value, str):
                if is_key:
                    _check_text(value, 'a key', NAME_LIMIT, _JOINERS)
                else:
                    _check_text(value, 'a text', limit, f'{_JOINERS}\n\r\t')
    except ModelFileError as err:
        raise ModelFileError(f'{where}: {err}') from err


def _check_text(text: str, where: str, limit: int, allowed: str) -> None:
    """Refuse text of more characters than ``limit``, and hidden characters that are not allowed."""
    if len(text) > limit:
        raise ModelFileError(
            f'{where} has {len(text)} characters: {schema.shown(text)}; expected {limit} at most'
        )
    if text.isascii() and text.isprintable():
        return
    hidden = [c for c in text if unicodedata.category(c) in _HIDDEN and c not in allowed]
    if hidden:
        raise ModelFileError(
            f'{where} has the control character {hidden[0]!a}: {text[:NAME_LIMIT]!a}; expected printable text'
        )
