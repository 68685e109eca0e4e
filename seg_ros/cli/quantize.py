"""``seg_ros quantize``: reduce the number of bits of weights and activations."""

import argparse

from seg_ros.cli.compression_step import run_step
from seg_ros.cli.options import add_compression, learning_from
from seg_ros.compression.steps import Quantize
from seg_ros.quantization.int8 import CALIBRATIONS
from seg_ros.quantization.levels import QUANTIZATIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_compression(parser)
    parser.add_argument(
        '--level',
        choices=list(QUANTIZATIONS),
        default='int8',
        help='level of quantization (default: %(default)s)',
    )
    parser.add_argument(
        '--method',
        choices=list(CALIBRATIONS),
        default='mse',
        help='method for the calibration of activations (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantize the model."""
    step = Quantize(arguments.level, arguments.method, arguments.images, learning_from(arguments))
    return run_step(step, arguments)
