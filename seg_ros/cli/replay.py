"""``seg_ros replay``: play a bag through the real node and record what it says."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from seg_ros.cli.model_options import add_model_arguments, settings_from
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.figures import table, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='bag folder, or .mcap or .db3 file')
    parser.add_argument('--topic', help='image topic (default: the only one)')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='OUT.mcap', help='default: BAG_seg_ros.mcap here'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT.mcap if it is there')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    add_replay_arguments(parser)
    add_model_arguments(parser)


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how to play, as ``seg_ros demo`` has it too."""
    group = parser.add_argument_group('replay')
    group.add_argument('--rate', type=float, default=1.0, help='speed, 1 is as recorded')
    group.add_argument(
        '--every-frame', action='store_true', help='wait for each result before the next frame'
    )
    group.add_argument(
        '--timeout',
        type=float,
        default=10.0,
        metavar='S',
        help='longest wait for a result (default: %(default)s)',
    )
    group.add_argument('--limit', type=int, metavar='N', help='play the first N frames only')
    group.add_argument('--confidence', action='store_true', help='record the confidence as well')
    group.add_argument('--overlay', action='store_true', help='record the overlay as well')
    group.add_argument('--segments', action='store_true', help='record and draw segments and codes as well')
    group.add_argument(
        '--domain',
        type=int,
        metavar='ID',
        help='DDS domain (default: one that nobody else on this computer uses)',
    )
    group.add_argument('--no-node', action='store_true', help='play to a node that runs already')


def run(arguments: argparse.Namespace) -> int:
    """Replay, print the report, draw the contact sheet."""
    output = arguments.output or Path(f'{arguments.bag.stem}_seg_ros.mcap')
    report = replay(arguments, arguments.bag, output, topic=arguments.topic, overwrite=arguments.overwrite)
    if report is None:
        return 130
    sheet = output.with_suffix('.png')
    report.recording.write_contact_sheet(sheet)
    write_json(arguments.json, report.as_json())
    print(report.as_text())
    print(table({'contact sheet': str(sheet)}))
    return 130 if report.was_interrupted else 0


def replay(arguments: argparse.Namespace, bag: Path, output: Path, **how: Any) -> Any:
    """Call ``seg_ros.replay.run.replay_bag`` with the arguments of ``add_replay_arguments``.

    Raises:
        ParameterError: a value is out of its range.
        UnavailableError: there is no ROS here; and as ``replay_bag``.
    """
    _check(arguments)
    try:
        job = importlib.import_module('seg_ros.replay.run')
    except ImportError as err:
        raise UnavailableError(
            f'a replay needs ROS 2, which is not there ({err}): source your distribution and its workspace, '
            'or install with "pip install seg_ros[ros]"'
        ) from err
    options = job.ReplayOptions(
        rate=arguments.rate,
        every_frame=arguments.every_frame,
        timeout_s=arguments.timeout,
        limit=arguments.limit,
        confidence=arguments.confidence,
        overlay=arguments.overlay,
        segments=arguments.segments,
    )
    node = {'domain': arguments.domain, 'own_node': not arguments.no_node}
    return job.replay_bag(bag, output, settings_from(arguments), options, **node, **how)


def _check(arguments: argparse.Namespace) -> None:
    ranges = {'rate': (0.001, 1000), 'timeout': (0.01, 3600), 'limit': (1, 10**9), 'domain': (0, 232)}
    for name, (low, high) in ranges.items():
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            raise ParameterError(f'--{name} is {value}; expected {low} .. {high}')
