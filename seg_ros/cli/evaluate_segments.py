"""``seg_ros evaluate-segments``: compare segments of models and methods with segments drawn by people."""

import argparse
from pathlib import Path
from typing import Any

from seg_ros.cli.options import (
    MODEL_FILE,
    add_dataset,
    add_json,
    add_limit,
    add_torch_only,
    check_at_least,
)
from seg_ros.datasets.registry import SEGMENTED
from seg_ros.errors import ParameterError
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.evaluation.published_codes import PublishedCodes
from seg_ros.evaluation.segment_accuracy import (
    MEASURES,
    Tuned,
    fit_published,
    load_code_network,
    measure_methods,
    n_chosen,
    read_settings,
    sweep_sizes,
    tune,
)
from seg_ros.evaluation.segment_baselines import METHODS
from seg_ros.modelfile.file import load_model
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.reports.segment_pictures import N_PICTURES, draw_side_by_side
from seg_ros.reports.segment_plot import plot_sweep

KINDS = ('things', 'stuff')
"""Kinds of segments that some data sets tell apart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_dataset(parser, SEGMENTED)
    parser.add_argument(
        '--model', default='segments', help=f'{MODEL_FILE}; it needs codes (default: %(default)s)'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=list(METHODS),
        default=list(METHODS),
        metavar='METHOD',
        help=f'methods to compare: {", ".join(METHODS)} (default: all)',
    )
    add_limit(parser)
    add_json(parser)
    parser.add_argument(
        '--plot', type=Path, metavar='OUT', help='picture file for a plot over the number of superpixels'
    )
    parser.add_argument(
        '--pictures',
        type=Path,
        metavar='OUT',
        help='picture file for the segments of all methods, in columns',
    )
    parser.add_argument(
        '--pictures-of',
        type=int,
        default=N_PICTURES,
        metavar='N',
        help='maximum number of images in --pictures (default: %(default)s)',
    )
    parser.add_argument(
        '--itq-split',
        default='train',
        metavar='SPLIT',
        help='split whose images fit the 8 bits of the method published, without labels '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--settings',
        type=Path,
        metavar='FILE',
        help='JSON file with the settings of all methods (default: the file shipped for the data set)',
    )
    parser.add_argument(
        '--tune',
        metavar='SPLIT',
        help='split on which settings are chosen first; they are written to the file of --settings',
    )
    add_torch_only(parser, 'other backends need images of one size')


def run(arguments: argparse.Namespace) -> int:
    """Tune if asked to, measure, print, and write the figures."""
    model = load_model(arguments.model)
    frames = load_code_network(model, arguments.device, arguments.quantization)
    check_at_least(arguments, pictures_of=1)
    published = _fit_published(arguments, frames)
    if arguments.tune:
        _tune(arguments, frames, published)
    settings = read_settings(arguments.settings, arguments.dataset)
    images = SEGMENTED[arguments.dataset](arguments.data, arguments.split)
    figures = measure_methods(images, frames, settings, arguments.methods, arguments.limit, published)
    print(format_table({method: _row(values) for method, values in figures.items()}))
    report = {
        'dataset': arguments.dataset,
        'split': arguments.split,
        'n_images': n_chosen(images, arguments.limit),
        'path': str(model.path),
        'digest': model.digest,
        'device': arguments.device,
        'quantization': model.metadata.quantization,
        'itq_split': None if published is None else arguments.itq_split,
        'methods': figures,
    }
    write_json(arguments.json, report)
    if arguments.plot:
        plot_sweep(arguments.plot, sweep_sizes(images, frames, settings, arguments.limit))
    if arguments.pictures:
        draw_side_by_side(
            arguments.pictures, images, frames, settings, arguments.methods, arguments.pictures_of, published
        )
    return 0


def _row(values: dict[str, Any]) -> str:
    """Figures of a method in one line."""
    measures = [(name, values[name]['value']) for name in MEASURES]
    kinds = [(kind, values['per_segment'][kind]) for kind in KINDS if kind in values['per_segment']]
    return '  '.join(f'{name} {100 * value:.2f} %' for name, value in measures + kinds)


def _fit_published(arguments: argparse.Namespace, frames: FrameNetwork) -> PublishedCodes | None:
    """Fit the codes of the method published, if it is among the methods."""
    if 'published' not in arguments.methods:
        return None
    return fit_published(
        SEGMENTED[arguments.dataset](arguments.data, arguments.itq_split), frames, arguments.limit
    )


def _tune(arguments: argparse.Namespace, frames: FrameNetwork, published: PublishedCodes | None) -> None:
    """Choose the settings of the methods, and write them beside those of other methods.

    Raises:
        ParameterError: There is no file for the settings, or tuning and measuring use the same split.
    """
    if arguments.settings is None:
        raise ParameterError('--tune chooses settings; name the file for them with --settings FILE')
    if arguments.tune == arguments.split:
        raise ParameterError(f'--tune {arguments.tune} is the split to measure on; choose another')
    images = SEGMENTED[arguments.dataset](arguments.data, arguments.tune)
    kept: Tuned = read_settings(arguments.settings, arguments.dataset) if arguments.settings.exists() else {}
    tuned = tune(images, frames, arguments.methods, arguments.limit, published)
    write_json(arguments.settings, {**kept, **tuned})
