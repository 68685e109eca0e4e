"""``seg_ros prune``: remove channels or blocks from a network."""

import argparse

from seg_ros.cli.compression_step import run_step
from seg_ros.cli.options import add_compression, check_at_least, learning_from
from seg_ros.compression.budget import BUDGETS
from seg_ros.compression.context import CompressionStep
from seg_ros.compression.cost_target import CostTarget
from seg_ros.compression.importance import CRITERIA
from seg_ros.compression.steps import Prune, RemoveBlocks
from seg_ros.errors import ParameterError
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.networks.graph.cost import LEVELS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_compression(parser)
    parser.add_argument(
        '--kind',
        choices=BUDGETS,
        default='macs',
        help='kind of cost to limit; energy is an estimate for an image, in millijoules; latency is '
        'measured, in milliseconds (default: %(default)s)',
    )
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument('--limit', type=float, metavar='X', help='maximum cost')
    limit.add_argument(
        '--share', type=float, metavar='X', help='maximum cost as a fraction of the present cost, 0..1'
    )
    parser.add_argument(
        '--level',
        choices=list(LEVELS),
        default='fp32',
        help='level of quantization for which bytes and energy are counted (default: %(default)s)',
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
    parser.add_argument(
        '--rounds',
        type=int,
        default=1,
        metavar='N',
        help='number of rounds in which pruning and learning alternate (default: %(default)s)',
    )
    parser.add_argument(
        '--keep-statistics',
        action='store_true',
        help='keep the statistics of batch normalisations; by default, they are computed anew on --images',
    )


def run(arguments: argparse.Namespace) -> int:
    """Prune the model."""
    check_at_least(arguments, rounds=1)
    _check_rounds(arguments)
    to = CostTarget(
        arguments.kind, arguments.limit, arguments.share, arguments.level, backend=arguments.backend
    )
    learn, statistics = learning_from(arguments), not arguments.keep_statistics
    step: CompressionStep = Prune(
        to,
        arguments.criterion,
        arguments.per,
        multiple=arguments.multiple,
        images=arguments.images,
        statistics=statistics,
        rounds=arguments.rounds,
        learn=learn,
    )
    if arguments.blocks:
        step = RemoveBlocks(to, images=arguments.images, statistics=statistics, learn=learn)
    return run_step(step, arguments)


def _check_rounds(arguments: argparse.Namespace) -> None:
    """Refuse rounds that would do nothing.

    Raises:
        ParameterError: Nothing is learnt between the rounds, or blocks are removed.
    """
    if arguments.rounds > 1 and (arguments.blocks or not arguments.epochs):
        reason = 'blocks are removed one by one' if arguments.blocks else 'nothing is learnt between them'
        raise ParameterError(f'--rounds is {arguments.rounds}, but {reason}; give --epochs, without --blocks')
