"""``seg_ros params``: prints all parameters, as a parameter file or as the table of the node reference."""

import argparse

import yaml

from seg_ros.inference.parameter import Parameter
from seg_ros.inference.settings import PARAMETERS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='yaml',
        help='format: a parameter file or a table (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Print all parameters."""
    print(FORMATS[arguments.format](), end='')
    return 0


def as_yaml() -> str:
    """Text of ``config/seg_ros.param.yaml``: every parameter with its default, for a node of any name."""
    lines = [
        '# Every parameter with its default. Made by "seg_ros params"; copy it and change what you need.',
        '/**:',
        '  ros__parameters:',
    ]
    for parameter in PARAMETERS:
        constraint = f' [{parameter.constraint}]' if parameter.constraint else ''
        lines += [
            f'    # {parameter.doc}{constraint}',
            f'    # May change {parameter.change.value}.',
            f'    {_entry(parameter)}',
        ]
    return '\n'.join(lines) + '\n'


def as_markdown() -> str:
    """Table of the node reference."""
    lines = ['| parameter | default | accepts | may change | meaning |', '|---|---|---|---|---|']
    for p in PARAMETERS:
        accepts = (p.constraint or type(p.default).__name__).replace(' | ', ', ')
        lines.append(f'| `{p.name}` | `{_scalar(p)}` | {accepts} | {p.change.value} | {p.doc} |')
    return '\n'.join(lines) + '\n'


FORMATS = {'yaml': as_yaml, 'markdown': as_markdown}


def _entry(parameter: Parameter) -> str:
    return yaml.safe_dump({parameter.name: parameter.default}).strip()


def _scalar(parameter: Parameter) -> str:
    return _entry(parameter).partition(': ')[2]
