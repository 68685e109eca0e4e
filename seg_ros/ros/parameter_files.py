"""Parameter files on the command line: which value comes from which line, and files that give nothing.

ROS reads the files itself. They are read a second time here, since ROS forgets where a value came from.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seg_ros.errors import ParameterError
from seg_ros.schema import is_plain_text, shown

_SECTION = 'ros__parameters'
_LARGEST = 1 << 20
"""Largest file that is read, in bytes."""
_LONGEST_NAMES = 500


@dataclass(frozen=True)
class Given:
    """A parameter that a file or an argument gives.

    Attributes:
        name: Name of the parameter, e.g. 'segments.region_size'.
        nodes: Pattern of the full names of the nodes it is for, e.g. '/**' or '/front/seg_ros'.
        origin: File and line, or the argument.
        path: Path of the file; '' for an argument.
    """

    name: str
    nodes: str
    origin: str
    path: str = ''

    def is_for(self, node: str) -> bool:
        """Whether a node of this full name gets it; ``*`` stands for one part of a name, ``**`` for any."""
        parts = re.split(r'(/\*\*|/\*)', self.nodes)
        wildcards = {'/**': r'(?:/\w+)*', '/*': r'/\w+'}
        return bool(re.fullmatch(''.join(wildcards.get(part, re.escape(part)) for part in parts), node))


def read_parameter_file(path: str) -> list[Given]:
    """Parameters in a file, in its order.

    Args:
        path: Path of a YAML file.

    Raises:
        ParameterError: The file cannot be read or is not YAML; the message names file and line.
    """
    try:
        documents = list(yaml.compose_all(content := _content(path), Loader=_Loader))
        return [given for document in documents for given in _given(document, '', path)]
    except yaml.MarkedYAMLError as err:
        place = f', line {err.problem_mark.line + 1}' if err.problem_mark else ''
        raise ParameterError(f"parameter file '{path}'{place}: {err.problem}") from err
    except yaml.reader.ReaderError as err:
        line = content[: err.position].count(b'\n') + 1
        raise ParameterError(f"parameter file '{path}', line {line}: not a text; {err.reason}") from err
    except (OverflowError, ValueError) as err:
        if isinstance(err, ParameterError):
            raise
        raise ParameterError(f"parameter file '{path}' has an escaped character beyond Unicode") from err
    except RecursionError as err:
        raise ParameterError(f"parameter file '{path}' is nested too deeply") from err


def name_origin(error: ParameterError, given: list[Given], node: str) -> ParameterError:
    """The error with the file and line of the parameter that it begins with, if a file gives it.

    Args:
        error: Refusal of a parameter; its text begins with the parameter's name.
        given: All parameters given at start, in order.
        node: Full name of the node.
    """
    parameter = str(error).partition(' ')[0].strip("':")
    matching = [g for g in given if g.name == parameter and g.is_for(node)]
    exact = [g for g in matching if g.nodes == node]  # the full name goes before wildcards
    return ParameterError(f'{(exact or matching)[-1].origin}: {error}') if matching else error


def warning_if_useless(path: str, given: list[Given], node: str) -> str:
    """Warning about a file that gives nothing to a node; '' if it gives something.

    Args:
        path: Path of the file.
        given: Parameters in the file.
        node: Full name of the node.
    """
    if any(g.is_for(node) for g in given):
        return ''
    others = ', '.join(dict.fromkeys(g.nodes for g in given))
    if len(others) > _LONGEST_NAMES or not is_plain_text(others):
        others = shown(others)
    content = f'it has parameters for {others}' if others else 'it has no parameters'
    return (
        f"parameter file '{path}' gives nothing to this node, {node}: {content}; "
        f'write them under {node}, or under /** for every node'
    )


class _Loader(yaml.SafeLoader):
    """Refuses aliases, as ROS does; a few bytes of them can stand for millions of values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, 'aliases are not accepted', mark)
        return super().compose_node(parent, index)


def _content(path: str) -> bytes:
    file = Path(path)
    try:
        if not file.is_file():
            reason = 'is not a file' if file.exists() else 'does not exist'
            raise ParameterError(f"parameter file '{path}' {reason}; expected the path of a YAML file")
        size = file.stat().st_size
        if size > _LARGEST:
            raise ParameterError(f"parameter file '{path}' has {size} bytes; expected at most {_LARGEST}")
        return file.read_bytes()
    except OSError as err:
        raise ParameterError(f"parameter file '{path}' cannot be read: {err.strerror}") from err


def _given(tree: yaml.Node | None, nodes: str, path: str) -> Iterator[Given]:
    """Parameters below the names of nodes, which may be nested: namespace, then name."""
    for key, value in _entries(tree):
        if key.value == _SECTION:
            yield from _values(value, '', nodes or '/**', path)
        else:
            yield from _given(value, f'{nodes}/{key.value.strip("/")}', path)


def _values(tree: yaml.Node, prefix: str, nodes: str, path: str) -> Iterator[Given]:
    for key, value in _entries(tree):
        name = f'{prefix}{key.value}'
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, f'{name}.', nodes, path)
        else:
            yield Given(name, nodes, f'{path}, line {key.start_mark.line + 1}', path)


def _entries(tree: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    if isinstance(tree, yaml.MappingNode):
        yield from ((key, value) for key, value in tree.value if isinstance(key, yaml.ScalarNode))
