"""``seg_ros quantize``: bring a network to fewer bits."""

import argparse

from seg_ros.cli.compress_options import add_common_arguments, add_learning, learning_from, run_step
from seg_ros.compression.steps import Quantize
from seg_ros.quantization.int8 import CALIBRATIONS
from seg_ros.quantization.levels import QUANTIZATIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common_arguments(parser)
    parser.add_argument('--level', choices=list(QUANTIZATIONS), default='int8', help='%(default)s')
    parser.add_argument(
        '--method', choices=list(CALIBRATIONS), default='mse', help='of calibration (%(default)s)'
    )
    add_learning(parser)


def run(arguments: argparse.Namespace) -> int:
    """Quantise."""
    step = Quantize(arguments.level, arguments.method, arguments.images, learning_from(arguments))
    return run_step(step, arguments)
