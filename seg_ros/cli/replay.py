"""``seg_ros replay``: play a bag through the real node and record its results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_ros.cli.options import (
    add_json,
    add_model_arguments,
    add_output,
    add_overwrite,
    add_topic,
    settings_from,
)
from seg_ros.errors import ParameterError
from seg_ros.evaluation.figures import format_table, write_json

if TYPE_CHECKING:
    from seg_ros.replay.report import ReplayReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('bag', type=Path, help='bag to play: a folder, or a .mcap or .db3 file')
    add_topic(parser)
    add_output(parser, 'OUT.mcap', 'recording to write (default: BAG_seg_ros.mcap in the current folder)')
    add_overwrite(parser)
    add_json(parser)
    add_replay_arguments(parser)
    add_model_arguments(parser)


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that ``seg_ros replay`` and ``seg_ros demo`` share."""
    group = parser.add_argument_group('replay')
    group.add_argument(
        '--rate', type=float, default=1.0, help='speed; 1 = as recorded (default: %(default)s)'
    )
    group.add_argument(
        '--every-frame', action='store_true', help='wait for the results of each frame before the next'
    )
    group.add_argument(
        '--timeout',
        type=float,
        default=10.0,
        metavar='S',
        help='longest wait for a result, in seconds (default: %(default)s)',
    )
    group.add_argument('--limit', type=int, metavar='N', help='maximum number of frames (default: all)')
    group.add_argument('--confidence', action='store_true', help='record the confidence too')
    group.add_argument('--overlay', action='store_true', help='record the overlay too')
    group.add_argument('--segments', action='store_true', help='record and draw segments and codes too')
    group.add_argument(
        '--domain',
        type=int,
        metavar='ID',
        help='DDS domain (default: a free domain on this computer; with --no-node, ROS_DOMAIN_ID)',
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
    print(format_table({'contact sheet': str(sheet)}))
    return 130 if report.was_interrupted else 0


def replay(
    arguments: argparse.Namespace, bag: Path, output: Path, *, topic: str | None, overwrite: bool
) -> 'ReplayReport | None':
    """Call ``seg_ros.replay.run.replay_bag`` with the arguments of ``add_replay_arguments``.

    Args:
        arguments: Parsed arguments, with those of ``add_model_arguments``.
        bag: Path of the bag to play.
        output: Path of the recording.
        topic: Image topic; None = the only image topic of the bag.
        overwrite: Replace ``output`` if it exists.

    Returns:
        The report; None if a signal came before the first result.

    Raises:
        ParameterError: A value is out of its range.
        UnavailableError: ROS is not installed; and as ``replay_bag``.
    """
    _check(arguments)
    from seg_ros.replay.live import import_replay
    from seg_ros.replay.options import ReplayOptions

    replay_bag = import_replay()  # --help and the checks work without ROS
    options = ReplayOptions(
        rate=arguments.rate,
        every_frame=arguments.every_frame,
        timeout_s=arguments.timeout,
        limit=arguments.limit,
        confidence=arguments.confidence,
        overlay=arguments.overlay,
        segments=arguments.segments,
    )
    return replay_bag(
        bag,
        output,
        settings_from(arguments),
        options,
        topic=topic,
        domain=arguments.domain,
        own_node=not arguments.no_node,
        overwrite=overwrite,
    )


def _check(arguments: argparse.Namespace) -> None:
    for option, value, low, high in (
        ('--rate', arguments.rate, 0.001, 1000),
        ('--timeout', arguments.timeout, 0.01, 3600),
        ('--limit', arguments.limit, 1, 10**9),
        ('--domain', arguments.domain, 0, 232),
    ):
        if value is not None and not low <= value <= high:
            raise ParameterError(f'{option} is {value}; expected {low} .. {high}')
