"""``seg_ros prune``: remove channels or blocks from a network."""

import argparse

from seg_ros.cli.compression_step import run_step
from seg_ros.cli.options import add_compression, learning_from
from seg_ros.compression.context import CompressionStep
from seg_ros.compression.importance import CRITERIA
from seg_ros.compression.steps import CostTarget, Prune, RemoveBlocks
from seg_ros.inference.backends.registry import BACKENDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_compression(parser)
    parser.add_argument(
        '--kind',
        choices=('macs', 'parameters', 'bytes', 'latency'),
        default='macs',
        help='kind of cost to limit; latency is measured, in milliseconds (default: %(default)s)',
    )
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument('--limit', type=float, metavar='X', help='maximum cost')
    limit.add_argument(
        '--share', type=float, metavar='X', help='maximum cost as a fraction of the present cost, 0..1'
    )
    parser.add_argument(
        '--backend',
        choices=list(BACKENDS),
        default='torch',
        help='backend for measuring latency (default: %(default)s)',
    )
    parser.add_argument(
        '--criterion',
        choices=list(CRITERIA),
        default='taylor',
        help='criterion for the importance of channels (default: %(default)s)',
    )
    parser.add_argument(
        '--per',
        choices=('macs', 'parameters', 'bytes', 'energy', 'latency'),
        help='cost that the importance of a channel is divided by (default: none)',
    )
    parser.add_argument(
        '--multiple',
        type=int,
        default=1,
        help='number that counts of channels are rounded to a multiple of (default: %(default)s)',
    )
    parser.add_argument(
        '--blocks', action='store_true', help='remove whole residual blocks instead of channels'
    )


def run(arguments: argparse.Namespace) -> int:
    """Prune the model."""
    to = CostTarget(arguments.kind, arguments.limit, arguments.share, backend=arguments.backend)
    learn = learning_from(arguments)
    step: CompressionStep = Prune(
        to,
        arguments.criterion,
        arguments.per,
        multiple=arguments.multiple,
        images=arguments.images,
        learn=learn,
    )
    if arguments.blocks:
        step = RemoveBlocks(to, images=arguments.images, learn=learn)
    return run_step(step, arguments)
