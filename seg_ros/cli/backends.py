"""``seg_ros backends``: lists the measured times of backends, or forgets them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_ros.inference.backends.measured import MeasuredTimes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        '--forget',
        action='store_true',
        help='remove all of them, and all kept graphs, so that both are made again',
    )
    parser.add_argument('--json', action='store_true', help='print them as JSON')


def run(arguments: argparse.Namespace) -> int:
    """Print the stored measurements, or remove them."""
    from seg_ros.inference.backends.graph_cache import forget_graphs
    from seg_ros.inference.backends.measured import all_measured, forget_all

    if arguments.forget:
        print(f'forgot {forget_all()} measurements and {forget_graphs()} graphs; backend auto measures again')
        return 0
    found = all_measured()
    if arguments.json:
        print(json.dumps([{**asdict(each), 'backend': each.backend} for each in found], indent=2))
    elif found:
        print('\n\n'.join(map(summary, found)))
    else:
        print('nothing is measured yet; backend auto measures when it loads a model')
    return 0


def summary(measurement: MeasuredTimes) -> str:
    """A measurement in four lines."""
    from seg_ros.inference.backends.machine import describe_machine

    subject, machine = measurement.subject, measurement.machine
    changes = measurement.changed_since(describe_machine(subject.device))
    again = '; '.join(changes) if changes else '' if measurement.is_certain else 'other programs disturbed it'
    threads = f'{subject.n_threads or "default number of"} threads'
    filtered = ', with embeddings' if subject.with_embeddings else ''
    rows = {
        subject.model: f'{subject.level}, {subject.width} x {subject.height} pixels, {subject.device}, '
        f'{threads}{filtered}',
        '  backend': f'{measurement.backend}: {measurement.text()}',
        '  measured': f'{measurement.measured}, {machine.get("processor")}, {machine.get("cores")} cores, '
        f'torch {machine.get("torch")}, onnxruntime {machine.get("onnxruntime")}',
        '  is measured again': again,
    }
    return '\n'.join(f'{name:14} {value}' for name, value in rows.items() if value)
