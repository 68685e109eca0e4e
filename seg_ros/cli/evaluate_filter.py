"""``seg_ros evaluate-filter``: compare the embedding filter with a filter by colour and with a dense CRF."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from seg_ros.cli.options import (
    add_dataset,
    add_json,
    add_limit,
    add_model_arguments,
    check_at_least,
    dataset_options,
    settings_from,
)
from seg_ros.datasets.open import open_dataset
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.errors import ParameterError
from seg_ros.evaluation.dilated_baseline import by_context, train_context
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.evaluation.filter_accuracy import best_of, measure_filters, own_filter
from seg_ros.evaluation.filter_methods import (
    FilterMethod,
    after,
    by_crf,
    by_embeddings,
    colour_methods,
    crf_settings,
    sweep_methods,
    usual_methods,
)
from seg_ros.inference.embedding_filter import EmbeddingFilter
from seg_ros.inference.segmenter import Segmenter
from seg_ros.reports.filter_plot import plot_filter_sweep

_DILATED_IMAGES = 8
"""Images that dilated convolutions learn from, for each image on which strengths are chosen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_dataset(parser, classes=True, options=True)
    add_limit(parser)
    parser.add_argument(
        '--tune',
        default='train',
        metavar='SPLIT',
        help='split on which the strengths of colours and CRF are chosen (default: %(default)s)',
    )
    parser.add_argument(
        '--tune-limit',
        type=int,
        default=16,
        metavar='N',
        help='maximum number of images of that split (default: %(default)s)',
    )
    parser.add_argument(
        '--crf', action='store_true', help='also a dense CRF, alone and after the filter; a second per image'
    )
    parser.add_argument(
        '--dilated',
        type=int,
        default=0,
        metavar='EPOCHS',
        help='also dilated convolutions over the scores, which learn for so many epochs on 8 times '
        '--tune-limit images; 0 = none (default: %(default)s)',
    )
    parser.add_argument(
        '--cell',
        type=int,
        default=1,
        metavar='PIXELS',
        help='average scores over cells of this size first, as if the network were coarser '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--plot', type=Path, metavar='OUT', help='picture file for a plot over windows and iterations'
    )
    for name, values in (('windows', (3, 5, 9, 13)), ('iterations', (1, 2, 4, 7, 12))):
        parser.add_argument(
            f'--plot-{name}',
            type=int,
            nargs='+',
            default=list(values),
            metavar='N',
            help=f'{name} in --plot (default: {" ".join(map(str, values))})',
        )
    add_json(parser)
    add_model_arguments(parser, without=('embedding_filter.enabled',))


def run(arguments: argparse.Namespace) -> int:
    """Tune, measure, print, and write figures and plot."""
    check_at_least(arguments, limit=1, tune_limit=1, cell=1, dilated=0)
    if arguments.tune == arguments.split:
        raise ParameterError(f'--tune {arguments.tune} is the split to measure on; choose another')
    segmenter = Segmenter.load(replace(settings_from(arguments), embedding_filter_enabled=True))
    images = _open(arguments, arguments.split, arguments.limit)
    own = own_filter(segmenter, images)
    methods = {**usual_methods(own), **_tuned(arguments, segmenter, own)}
    figures = measure_filters(segmenter, images, methods, arguments.cell)
    print(format_table({name: _row(values) for name, values in figures.items()}))
    report: dict[str, Any] = {
        'dataset': arguments.dataset,
        'split': arguments.split,
        'n_images': len(images),
        'cell': arguments.cell,
        **segmenter.as_json(),
        'methods': figures,
    }
    if arguments.plot:
        swept = sweep_methods(own, arguments.plot_windows, arguments.plot_iterations)
        sweep = measure_filters(segmenter, images, swept, arguments.cell)
        plot_filter_sweep(arguments.plot, sweep, figures['no filter'])
        report['sweep'] = [{'window': w, 'iterations': n, **values} for (w, n), values in sweep.items()]
        window, n = best_of(sweep)
        print(f'best: {window}x{window}, {n} times: {_row(sweep[window, n])}')
    write_json(arguments.json, report)
    return 0


def _tuned(
    arguments: argparse.Namespace, segmenter: Segmenter, own: EmbeddingFilter
) -> dict[str, FilterMethod]:
    """The filter by colour and, if asked for, the dense CRF, of the strengths that suit the split --tune."""
    images = _open(arguments, arguments.tune, arguments.tune_limit)
    colours = colour_methods(own)
    name = best_of(measure_filters(segmenter, images, colours, arguments.cell))
    chosen = {name: colours[name]}
    if arguments.dilated:
        to_learn = _open(arguments, arguments.tune, _DILATED_IMAGES * arguments.tune_limit)
        module = train_context(segmenter, to_learn, arguments.dilated, arguments.cell)
        chosen['dilated convolutions'] = by_context(module)
    if arguments.crf:
        fields = crf_settings()
        candidates = {name: by_crf(crf) for name, crf in fields.items()}
        name = best_of(measure_filters(segmenter, images, candidates, arguments.cell))
        chosen[name] = candidates[name]
        chosen['embeddings, then this CRF'] = after(by_embeddings(own), candidates[name])
    return chosen


def _open(arguments: argparse.Namespace, split: str, limit: int | None) -> EvenSample:
    dataset = open_dataset(arguments.dataset, arguments.data, split, dataset_options(arguments))
    return EvenSample(dataset, limit or len(dataset))


def _row(values: dict[str, float]) -> str:
    """Figures of a method in one line."""
    accuracy = [(key, 100 * values[key]) for key in ('mean_iou', 'boundary_iou', 'pixel_accuracy')]
    return '  '.join(f'{key} {value:.2f} %' for key, value in accuracy) + f'  {values["ms"]:.1f} ms'
