"""YAML of class files, recipes and options: plain values, of bounded size and depth, each key once.

The loader of PyYAML is restricted before it builds anything: no tags beside those of plain values, no nesting
deeper than 32, and references to anchors only while their copies stay small.
"""

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from seg_ros.userfiles.reading import TEXT_LIMIT, read_text, shown_path

DEPTH_LIMIT = 32
NODE_LIMIT = 20_000
"""Maximum number of values, where each reference to an anchor counts like a copy."""
_DIGITS = 100
"""Maximum number of characters of a number."""

_PREFIX = 'tag:yaml.org,2002:'
_TAGS = {_PREFIX + name for name in ('str', 'int', 'float', 'bool', 'null', 'seq', 'map', 'merge')}
_EXPONENT = re.compile(r'[-+]?\d+(\.\d*)?[eE][-+]?\d{1,2}\Z')
_Node = yaml.nodes.Node


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.1 without dates, and with 1e-3 as a number, as in YAML 1.2.

    Args:
        text: The YAML.
        text_keys: Keys whose plain values are text, so that ``name: no`` is the name 'no'.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str, text_keys: Collection[str]) -> None:
        super().__init__(text)
        self._text_keys = text_keys
        self._depth = self._n_nodes = 0

    def compose_node(self, parent: _Node | None, index: Any) -> _Node | None:
        """Compose a node of the document, not deeper than the limit."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self._is_text(parent, index) and isinstance(event, yaml.ScalarEvent) and event.tag is None:
            event.tag = _PREFIX + 'str'
        self._depth += 1
        self._n_nodes += 1
        if self._depth > DEPTH_LIMIT:
            raise _problem(event, f'nests deeper than {DEPTH_LIMIT}')
        if self._n_nodes > NODE_LIMIT:
            raise _problem(event, f'has more than {NODE_LIMIT:,} values')
        node: _Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _is_text(self, parent: _Node | None, index: Any) -> bool:
        is_value = isinstance(parent, yaml.MappingNode) and isinstance(index, yaml.ScalarNode)
        return is_value and index.value in self._text_keys


_PlainLoader.add_implicit_resolver(_PREFIX + 'float', _EXPONENT, list('-+0123456789'))


def read_yaml(path: Path, kind: str, error: type[Exception], *, text_keys: Collection[str] = ()) -> Any:
    """Read a YAML file.

    Args:
        path: Path of the file.
        kind: Kind of file, for error messages.
        error: Exception to raise.
        text_keys: Keys whose values are text, as they are written.

    Raises:
        error: The file cannot be read, or is not YAML of plain values.
    """
    text = read_text(path, error)
    return parse_yaml(text, f'{kind} {shown_path(path)}', error, text_keys=text_keys)


def parse_yaml(text: str, where: str, error: type[Exception], *, text_keys: Collection[str] = ()) -> Any:
    """Parse YAML.

    Args:
        text: The YAML.
        where: Place of the text, for error messages.
        error: Exception to raise.
        text_keys: Keys whose values are text, as they are written.

    Returns:
        None, bool, int, float, str, and lists and dicts of them.

    Raises:
        error: The text is not YAML of plain values, or exceeds a limit.
    """
    if len(text) > TEXT_LIMIT:
        raise error(f'{where} has {len(text):,} characters; expected at most {TEXT_LIMIT:,}')
    try:
        return _parse(text, text_keys)
    except yaml.YAMLError as err:
        raise error(f'{where} cannot be read: {_explained(err)}') from err


def _parse(text: str, text_keys: Collection[str]) -> Any:
    loader = _PlainLoader(text, text_keys)
    try:
        root = _composed(loader)
        if root is None:
            return None
        _count(root, {}, set())
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _composed(loader: _PlainLoader) -> _Node | None:
    """Root of the document; PyYAML itself fails with other errors at numbers that are not characters."""
    try:
        root: _Node | None = loader.get_single_node()
    except (ValueError, OverflowError) as err:
        problem = 'an escaped character is beyond those of Unicode'
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=loader.get_mark()) from err
    return root


def _count(node: _Node, counts: dict[int, int], open_nodes: set[int], name: str = '') -> int:
    """Number of values below a node, counted as if references were copies; checks every node once."""
    key = id(node)
    if key in open_nodes:
        raise _problem(node, 'contains itself')
    if key not in counts:
        _check_node(node, name)
        open_nodes.add(key)
        counts[key] = 1 + sum(_count(child, counts, open_nodes, of) for of, child in _children(node))
        open_nodes.remove(key)
        if counts[key] > NODE_LIMIT:
            raise _problem(node, f'has more than {NODE_LIMIT:,} values')
    return counts[key]


def _children(node: _Node) -> Iterator[tuple[str, _Node]]:
    """Nodes below a node, each with the key that it belongs to."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield '', key
            yield f'{key.value[:40]} ' if isinstance(key, yaml.ScalarNode) else '', value
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield '', value


def _check_node(node: _Node, name: str) -> None:
    """Refuse what is not a plain value, and what PyYAML would convert with another exception."""
    if node.tag not in _TAGS:
        tag = node.tag.replace(_PREFIX, '!!')[:40]
        raise _problem(node, f'{name}has the tag {tag!a}; expected plain values')
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
    if isinstance(node, yaml.ScalarNode):
        if node.tag != _PREFIX + 'str':
            _check_scalar(node, name)
        elif any('\ud800' <= c <= '\udfff' for c in node.value):
            raise _problem(node, f'{name}has half a character: {node.value[:40]!a}')


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem(key, 'is a key that is not a single value')
        if (key.tag, key.value) in seen and key.tag != _PREFIX + 'merge':
            raise _problem(key, f'repeats the key {key.value[:40]!a}')
        seen.add((key.tag, key.value))


def _check_scalar(node: yaml.ScalarNode, name: str) -> None:
    if len(node.value) > _DIGITS:
        raise _problem(node, f'{name}is a number of {len(node.value):,} characters')
    try:
        value = _CONSTRUCTORS.get(node.tag, lambda _, scalar: scalar.value)(_PlainLoader('', ()), node)
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError, yaml.YAMLError) as err:
        kind = node.tag.removeprefix(_PREFIX)
        raise _problem(node, f'{name}is {node.value[:40]!a}; expected {kind}') from err
    if isinstance(value, float) and not math.isfinite(value):
        raise _problem(node, f'{name}is {node.value[:40]!a}; expected a finite number')


_CONSTRUCTORS: dict[str | None, Any] = {
    _PREFIX + name: yaml.SafeLoader.yaml_constructors[_PREFIX + name] for name in ('int', 'float', 'bool')
}


def _problem(at: Any, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=at.start_mark)


def _explained(err: yaml.YAMLError) -> str:
    """An error of PyYAML in one line."""
    mark = getattr(err, 'problem_mark', None)
    text = str(getattr(err, 'problem', None) or getattr(err, 'reason', None) or 'not YAML')
    place = f'line {mark.line + 1}, column {mark.column + 1}: ' if mark is not None else ''
    return shown_path((place + text)[:300])
