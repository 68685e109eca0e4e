"""``seg_ros prune``: take channels or blocks out of a network."""

import argparse

from seg_ros.cli.compress_options import add_common_arguments, add_learning, learning_from, run_step
from seg_ros.compression.context import CompressionStep
from seg_ros.compression.importance import CRITERIA
from seg_ros.compression.steps import CostTarget, Prune, RemoveBlocks
from seg_ros.inference.backends.registry import BACKENDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common_arguments(parser)
    parser.add_argument(
        '--kind',
        choices=('macs', 'parameters', 'bytes', 'latency'),
        default='macs',
        help='what is limited; latency in milliseconds, measured (default: %(default)s)',
    )
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument('--limit', type=float, metavar='X', help='the most it may cost')
    limit.add_argument('--share', type=float, metavar='X', help='that, as a share of what it costs now')
    parser.add_argument(
        '--backend', choices=list(BACKENDS), default='torch', help='latency is measured with (%(default)s)'
    )
    parser.add_argument('--criterion', choices=list(CRITERIA), default='taylor', help='%(default)s')
    parser.add_argument(
        '--per',
        choices=('macs', 'parameters', 'bytes', 'energy', 'latency'),
        help='divide importance by what a channel saves of this',
    )
    parser.add_argument('--multiple', type=int, default=1, help='round numbers of channels to this')
    parser.add_argument('--blocks', action='store_true', help='take whole residual blocks, not channels')
    add_learning(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prune."""
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
