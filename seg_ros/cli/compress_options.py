"""What the commands that make a model smaller have in common."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from seg_ros.compression.context import CompressionContext, CompressionStep, take
from seg_ros.compression.steps import example_of
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import RecipeError
from seg_ros.modelfile.file import Model, load_model
from seg_ros.networks.graph.cost import count_macs
from seg_ros.training.distributed import join, leave
from seg_ros.training.interrupts import remembered_interrupts
from seg_ros.training.recipe import Source, read_yaml


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the model, the data to go by, and the file to write."""
    parser.add_argument('model', help='model file: a path, or the name of a shipped model')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE', help='the smaller model')
    parser.add_argument('--dataset', choices=list(DATASETS), default='camvid', help='%(default)s')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument('--split', default='train', help='to measure and learn on (default: %(default)s)')
    parser.add_argument('--options', default='{}', metavar='YAML', help='further options of the data set')
    parser.add_argument(
        '--images', type=int, default=64, help='to calibrate and score on (default: %(default)s)'
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare ``--device``."""
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='%(default)s')


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Declare the options of fine-tuning."""
    group = parser.add_argument_group('fine-tuning')
    group.add_argument('--epochs', type=int, default=0, help='0 = none (default: %(default)s)')
    group.add_argument('--learning-rate', type=float, default=5e-4, help='%(default)s')
    group.add_argument('--learn', default='{}', metavar='YAML', help='further keys of a training recipe')


def learning_from(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys of a training recipe, from options."""
    if not arguments.epochs:
        return {}
    keys = {'epochs': arguments.epochs, 'learning_rate': arguments.learning_rate}
    return {**keys, **mapping_from(arguments.learn, '--learn')}


def mapping_from(text: str, option: str) -> dict[str, Any]:
    """Keys and values from the YAML of an option.

    Raises:
        RecipeError: it is something else.
    """
    try:
        content = read_yaml(text)
    except yaml.YAMLError as err:
        raise RecipeError(f'{option} is no YAML: {err}') from err
    if not isinstance(content, dict):
        raise RecipeError(f'{option} is {content!r}; expected keys and values, such as "{{flip: 0.5}}"')
    return content


def run_step(step: CompressionStep, arguments: argparse.Namespace) -> int:
    """Run one step on the model that was named, and say what it gained."""
    model = load_model(arguments.model)
    source = Source(arguments.dataset, arguments.split, options=mapping_from(arguments.options, '--options'))
    processes = join(arguments.device)
    try:
        context = CompressionContext((source,), None, arguments.data, processes, {}, model.path)
        with remembered_interrupts():
            take(step, model, arguments.output, context)
    finally:
        leave()
    if processes.is_main:
        report(model, load_model(arguments.output))
    return 0


def report(before: Model, after: Model) -> None:
    """Print what a model was and is."""
    rows: dict[str, Callable[[Model], str]] = {
        'level': lambda model: model.metadata.quantization,
        'bytes': lambda model: f'{model.n_bytes:,}',
        'parameters': lambda model: f'{model.n_parameters:,}',
        'MACs': lambda model: f'{count_macs(model.network, example_of(model)):,}',
    }
    print(f'{before.path} -> {after.path}')
    for name, value in rows.items():
        print(f'  {name:11}{value(before):>16} -> {value(after):>14}')
    removed = (after.metadata.pruned or {}).get('removed')
    if removed:
        print(f'  without    {", ".join(removed)}')
    print(json.dumps({'path': str(after.path), 'digest': after.digest}))
