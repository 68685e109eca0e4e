"""``seg_ros share``: weight sharing, which leaves a few distinct values among the weights of a layer."""

import argparse

from seg_ros.cli.compression_step import run_step
from seg_ros.cli.options import add_compression, learning_from
from seg_ros.compression.steps import Share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_compression(parser)
    parser.add_argument(
        '--bits',
        type=int,
        default=5,
        help='number of bits of an index into the shared values, 2..8 (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Share the weights of the model."""
    return run_step(Share(arguments.bits, learning_from(arguments)), arguments)
