"""``seg_ros fit-embeddings``: learn embeddings for a model from segments without classes."""

import argparse

from seg_ros.cli.options import MODEL_FILE, add_datasets, add_model_output, folders_from
from seg_ros.datasets.registry import SEGMENTED
from seg_ros.errors import ParameterError
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import EmbeddingMetadata
from seg_ros.training.coded_model import CodeData
from seg_ros.training.fit_embeddings import PairLearning, fit_embeddings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_datasets(parser, SEGMENTED)
    parser.add_argument('--model', required=True, metavar='FILE', help=f'{MODEL_FILE}, with classes')
    parser.add_argument(
        '--taps', nargs='+', metavar='NAME', help="sub-modules that the head reads (default: the model's own)"
    )
    parser.add_argument(
        '--continue',
        dest='is_continued',
        action='store_true',
        help="go on from the model's own embeddings instead of random weights",
    )
    _add_embeddings(parser)
    _add_learning(parser)
    add_model_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Learn and write."""
    if not 0 <= arguments.near < arguments.far or arguments.learning_rate <= 0 or arguments.epochs < 1:
        raise ParameterError(
            f'--near {arguments.near:g}, --far {arguments.far:g}, --learning-rate '
            f'{arguments.learning_rate:g}, --epochs {arguments.epochs}; expected 0 or more, more than near, '
            'above 0, 1 or more'
        )
    EmbeddingFilter(arguments.window, arguments.iterations, arguments.hardness)  # refuses what it cannot be
    sources = [SEGMENTED[name](root, arguments.split) for name, root in folders_from(arguments)]
    losses = fit_embeddings(
        arguments.output,
        load_model(arguments.model),
        EmbeddingMetadata({}, arguments.dimensions, arguments.stride, arguments.window, arguments.iterations),
        CodeData(sources, [f'{name} {arguments.split}' for name in arguments.dataset]),
        PairLearning(
            arguments.epochs,
            arguments.learning_rate,
            arguments.near,
            arguments.far,
            arguments.hardness,
            arguments.seed,
        ),
        taps=arguments.taps,
        is_continued=arguments.is_continued,
    )
    for epoch, loss in enumerate(losses, start=1):
        print(f'epoch {epoch} of {arguments.epochs}: loss {loss:.4f}', flush=True)
    print(f'written: {arguments.output}')
    return 0


def _add_embeddings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('embeddings and filter in the model file')
    for name, default, description in (
        ('dimensions', 12, 'number of dimensions of an embedding'),
        ('window', 9, 'width and height of the window of pairs and filter in embeddings, odd'),
        ('iterations', 4, 'number of iterations of the filter'),
    ):
        group.add_argument(
            f'--{name}', type=int, default=default, help=f'{description} (default: %(default)s)'
        )
    group.add_argument(
        '--stride',
        type=int,
        choices=(1, 2, 4, 8),
        default=8,
        help='pixels from one embedding to the next (default: %(default)s)',
    )
    group.add_argument(
        '--hardness',
        type=float,
        default=PairLearning.hardness,
        help='decay of the weight with the distance of embeddings (default: %(default)s)',
    )


def _add_learning(parser: argparse.ArgumentParser) -> None:
    group, defaults = parser.add_argument_group('learning'), PairLearning()
    for name, kind, default, description in (
        ('epochs', int, defaults.epochs, 'number of passes over all images'),
        ('learning-rate', float, defaults.learning_rate, 'peak learning rate of the head'),
        ('near', float, defaults.near, 'distance up to which pixels of one segment cost nothing'),
        ('far', float, defaults.far, 'distance from which pixels of two segments cost nothing'),
        ('seed', int, defaults.seed, 'seed of all randomness'),
    ):
        group.add_argument(
            f'--{name}', type=kind, default=default, help=f'{description} (default: %(default)s)'
        )
