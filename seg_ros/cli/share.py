"""``seg_ros share``: let the weights of a network share a few values."""

import argparse

from seg_ros.cli.compress_options import add_common_arguments, add_learning, learning_from, run_step
from seg_ros.compression.steps import Share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common_arguments(parser)
    parser.add_argument('--bits', type=int, default=5, help='of an index, 2..8 (default: %(default)s)')
    add_learning(parser)


def run(arguments: argparse.Namespace) -> int:
    """Share."""
    return run_step(Share(arguments.bits, learning_from(arguments)), arguments)
