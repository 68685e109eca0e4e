"""One compression step as a command: ``seg_ros prune``, ``quantize`` and ``share``."""

import argparse
import json
from pathlib import Path

from seg_ros.cli.options import dataset_options
from seg_ros.compression.context import CompressionContext, CompressionStep
from seg_ros.compression.learning import take
from seg_ros.compression.report import compare_sizes
from seg_ros.compression.steps import in_rounds
from seg_ros.modelfile.file import Model, load_model
from seg_ros.training.distributed import join, leave
from seg_ros.training.interrupts import remembered_interrupts
from seg_ros.training.recipe import Source


def run_step(step: CompressionStep, arguments: argparse.Namespace) -> int:
    """Compress the model of the arguments by one step, and print the sizes before and after.

    Args:
        step: Step to run.
        arguments: Arguments of :func:`seg_ros.cli.options.add_compression`.

    Returns:
        Exit code.
    """
    model = load_model(arguments.model)
    model.pytorch_network('compression')
    source = Source(arguments.dataset, arguments.split, options=dataset_options(arguments))
    processes = join(arguments.device)
    try:
        context = CompressionContext((source,), None, arguments.data, processes, {}, model.path)
        with remembered_interrupts():
            _take_rounds(step, model, arguments.output, context)
    finally:
        leave()
    if processes.is_main:
        print_sizes(model, load_model(arguments.output))
    return 0


def _take_rounds(step: CompressionStep, model: Model, path: Path, context: CompressionContext) -> None:
    """Take a step round by round; the file of each round but the last is beside the last."""
    *early, last = in_rounds(step)
    for number, part in enumerate(early, start=1):
        made = path.with_name(f'{path.stem}-{number}{path.suffix}')
        take(part, model, made, context)
        model = load_model(made)
    take(last, model, path, context)


def print_sizes(before: Model, after: Model) -> None:
    """Print the sizes of two models, then path and digest of the second as JSON."""
    print(compare_sizes(before, after))
    print(json.dumps({'path': str(after.path), 'digest': after.digest}))
