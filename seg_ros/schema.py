"""Typed objects from JSON and YAML: one conversion and one form of error for all of them.

msgspec checks types, and the bounds in ``Annotated[..., msgspec.Meta(...)]``. This module adds checks that
msgspec does not make for dataclasses: unknown keys, missing keys, numbers that are not finite, and values of
objects that Python code constructs. See docs/decisions/0010-one-schema.md.
"""

import dataclasses
import re
import sys
import types
import typing
import unicodedata
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from reprlib import Repr
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar('T')

FLOAT_MAX = sys.float_info.max

Fraction = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]

_WORDS = {'object': 'keys and values', 'array': 'a list', 'null': 'none'}
"""Names of types in messages of msgspec -> words for somebody who writes YAML."""

_KEY_KINDS = {'str': 'a string', 'int': 'a whole number'}
"""Types of keys in messages of msgspec -> words."""

_PLACE = re.compile(r'(?P<text>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`', re.DOTALL)
"""Message of msgspec: text and key path."""

_STEP = re.compile(r'\.([^.\[]+)|\[([^\]]+)\]')
"""Step of such a path: ``.field``, ``[index]``, or ``[...]`` for any entry of a dict."""

_CONTROLS = ('Cc', 'Cs', 'Zl', 'Zp')
"""Categories of Unicode: control characters, halves of characters, separators of lines and paragraphs."""

_DIRECTIONS = '\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069'
"""Characters that change the direction of the text around them."""

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxlong = 40


class _MismatchError(ValueError):
    """Content does not fit its type: ``at`` is the key path, ``text`` continues a sentence about it."""

    def __init__(self, at: str, text: str) -> None:
        super().__init__(text)
        self.at = at


def build(
    kind: type[T],
    content: Any,
    where: str,
    error: type[Exception],
    *,
    may_lack: Collection[str] | None = None,
) -> T:
    """Convert parsed JSON or YAML to a dataclass or any other type that msgspec knows.

    Every key must be known and every value must have the annotated type and lie within its bounds. An int is
    accepted for a float, a list for a tuple. Floats must be finite.

    Args:
        kind: Type of the result.
        content: Parsed JSON or YAML.
        where: Name of the content for error messages, for example the path of its file.
        error: Exception to raise.
        may_lack: Keys that may be missing at any depth; None = all keys with a default.

    Raises:
        error: The content does not fit. The message states the key path, the value and what was expected.
    """
    return typing.cast(T, _convert(kind, content, where, '', error, may_lack))


def check_value(hint: Any, value: Any, name: str, error: type[Exception]) -> Any:
    """Convert one value to an annotated type, as :func:`build` does; ``name`` is for error messages."""
    return _convert(hint, value, '', name, error, None)


def check_fields(instance: Any, error: type[Exception]) -> None:
    """Check and convert every field of a dataclass; call it first in ``__post_init__``.

    Raises:
        error: A value has the wrong type or is out of range.
    """
    kind: Any = type(instance)
    for name, hint in field_types(kind).items():
        value = check_value(hint, getattr(instance, name), name, error)
        object.__setattr__(instance, name, value)  # the dataclass may be frozen


def require(holds: bool, name: str, value: object, expected: str, error: type[Exception]) -> None:
    """Raise ``error`` unless a condition holds that annotations cannot state."""
    if not holds:
        raise error(f'{name} is {shown(value)}; expected {expected}')


@cache
def field_types(kind: Any) -> dict[str, Any]:
    """Annotations of a dataclass or TypedDict by field name, with the bounds inside ``Annotated``."""
    hints = typing.get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return hints


def bounds_of(hint: Any) -> list[Meta]:
    """The ``msgspec.Meta`` of an annotation, also of the type beside None in ``X | None``."""
    if typing.get_origin(hint) is Annotated:
        return [*bounds_of(typing.get_args(hint)[0]), *(m for m in hint.__metadata__ if isinstance(m, Meta))]
    if _is_union(hint):
        return [meta for part in typing.get_args(hint) for meta in bounds_of(part)]
    return []


def _convert(
    hint: Any, value: Any, where: str, at: str, error: type[Exception], may_lack: Collection[str] | None
) -> Any:
    try:
        _check(hint, value, at, may_lack)
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as err:
        at, text = _explain(err, hint, value, at)
        raise error(_label(where, at) + text) from err
    except _MismatchError as err:
        raise error(_label(where, err.at) + str(err)) from err


def _label(where: str, at: str) -> str:
    return f'{where}: {at}' if where and at else where or at


def _check(hint: Any, value: Any, at: str, may_lack: Collection[str] | None) -> None:
    """Refuse unknown and missing keys, and floats that are not finite, as deep as ``hint`` describes."""
    hint = _core(_branch(hint, value))
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is float and isinstance(value, (int, float)) and not -FLOAT_MAX <= value <= FLOAT_MAX:
        raise _MismatchError(at, f' is {shown(value)}; expected a finite number')
    if _is_record(hint) and isinstance(value, dict):
        _check_keys(hint, value, at, may_lack)
        for key, entry in value.items():
            _check(field_types(hint)[key], entry, _join(at, key), may_lack)
    elif origin is dict and isinstance(value, dict):
        for key, entry in value.items():
            _check(parts[1], entry, _join(at, key), may_lack)
    elif origin in (tuple, list) and isinstance(value, (tuple, list)):
        for index, entry in enumerate(value):
            part = _part(hint, index)
            if part is not None:
                _check(part, entry, f'{at}[{index}]', may_lack)


def _check_keys(kind: Any, content: dict[Any, Any], at: str, may_lack: Collection[str] | None) -> None:
    known = list(field_types(kind))
    for key in content:
        if key not in known:
            near = get_close_matches(key[:100], known, 1) if isinstance(key, str) else []
            advice = f'did you mean {near[0]}?' if near else f'known: {", ".join(known)}'
            raise _MismatchError(_join(at, key), f' is not a known key; {advice}')
    for key in _required(kind, may_lack):
        if key not in content:
            raise _MismatchError(_join(at, key), ' is missing')


def _required(kind: Any, may_lack: Collection[str] | None) -> list[str]:
    """Keys that the content of a dataclass or TypedDict must have."""
    if typing.is_typeddict(kind):
        return sorted(kind.__required_keys__)
    if may_lack is not None:
        return [f.name for f in dataclasses.fields(kind) if f.name not in may_lack]
    unset = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(kind) if f.default is unset and f.default_factory is unset]


def _explain(err: msgspec.ValidationError, hint: Any, value: Any, at: str) -> tuple[str, str]:
    """Key path of an error of msgspec, and a text that continues a sentence about it."""
    match = _PLACE.fullmatch(str(err))
    text = match['text'] if match else str(err)
    at, hint, value = _follow(match['path'] if match else '', hint, value, at)
    if err.__cause__ is not None:  # raised by a __post_init__, whose text may begin with a key
        is_key = _is_record(_core(hint)) and text.partition(' ')[0] in field_types(_core(hint))
        return (_join(at, ''), text) if is_key else (at, f': {text}')
    if match and match['key']:
        kind = _expected(hint, text)
        return at, f' has a key that is not {_KEY_KINDS.get(kind, kind)}'
    return at, f' is {shown(value)}; expected {_expected(hint, text)}'


def _follow(path: str, hint: Any, value: Any, at: str) -> tuple[str, Any, Any]:
    """Key path, annotation and value at a path of msgspec inside a value at ``at``."""
    for name, index in _STEP.findall(path):
        hint = _core(_branch(hint, value))
        if name:
            at, hint, value = _join(at, name), field_types(hint)[name], value[name]
        elif index == '...':
            hint = typing.get_args(hint)[1]
            key = next(key for key, entry in value.items() if not _fits(hint, entry))
            at, value = _join(at, key), value[key]
        else:
            at, hint, value = f'{at}[{index}]', _part(hint, int(index)), value[int(index)]
    return at, hint, value


def _branch(hint: Any, value: Any) -> Any:
    """The type of a union that a list or tuple may be; other annotations and values as they are."""
    if not (_is_union(hint) and isinstance(value, list | tuple)):
        return hint
    sequences = [part for part in typing.get_args(hint) if typing.get_origin(_core(part)) in (list, tuple)]
    return sequences[0] if sequences else hint


def _fits(hint: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _expected(hint: Any, text: str) -> str:
    """Words for the expectation behind a message of msgspec about a value of type ``hint``."""
    core = _core(hint)
    if typing.get_origin(core) is Literal:
        *names, last = map(str, typing.get_args(core))
        return f'{", ".join(names)} or {last}' if names else last
    metas = bounds_of(hint)
    if core is str and metas and ', got ' not in text:
        return in_words(metas[0]).replace('entries', 'characters')
    if metas and ', got ' not in text:
        return in_words(metas[0])
    expected = text.removeprefix('Expected ').partition(', got ')[0]
    for word, plain in _WORDS.items():
        expected = expected.replace(word, plain)
    return expected.replace('`', '').replace(' | ', ' or ')


def in_words(bounds: Meta) -> str:
    """Bounds as an error message states them, for example '0 .. 1' or 'more than 0'."""
    if bounds.max_length is not None and bounds.min_length != bounds.max_length:
        return f'{bounds.min_length or 0} .. {bounds.max_length} entries'
    if bounds.min_length is not None:
        return f'{bounds.min_length} {"" if bounds.max_length == bounds.min_length else "or more "}entries'
    if bounds.ge is not None and bounds.le is not None:
        return f'{bounds.ge:g} .. {bounds.le:g}'
    parts = {
        '{:g} or more': bounds.ge,
        'more than {:g}': bounds.gt,
        '{:g} or less': bounds.le,
        'less than {:g}': bounds.lt,
    }
    return ', '.join(words.format(bound) for words, bound in parts.items() if bound is not None)


def _core(hint: Any) -> Any:
    """The type inside ``Annotated`` and ``X | None``; float for ``int | float``."""
    if typing.get_origin(hint) is Annotated:
        return _core(typing.get_args(hint)[0])
    if _is_union(hint):
        parts = [_core(part) for part in typing.get_args(hint) if part is not type(None)]
        return float if float in parts else parts[0]
    return hint


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _is_record(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or typing.is_typeddict(hint)


def _part(hint: Any, index: int) -> Any:
    """Type of an entry of a tuple or list; None beyond the end of a tuple."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is list or parts[-1] is Ellipsis:
        return parts[0]
    return parts[index] if index < len(parts) else None


def _join(at: str, key: object) -> str:
    is_short = isinstance(key, str) and len(key) <= 100 and is_plain_text(key)
    name = key if is_short else shown(key)
    return f'{at}.{name}' if at else str(name)


def is_plain_text(text: str) -> bool:
    """Whether a text has no control characters, line breaks, or changes of its direction."""
    return not any(unicodedata.category(c) in _CONTROLS or c in _DIRECTIONS for c in text)


def shown(value: object) -> str:
    """A short form of a value for a message; the value may be hostile."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an int of thousands of digits
        return f'a huge {type(value).__name__}'
