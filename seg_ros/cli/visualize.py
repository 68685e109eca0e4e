"""``seg_ros visualize``: draw the units of a layer, or the embeddings of a model."""

import argparse
from pathlib import Path

from seg_ros.cli.options import (
    MODEL_FILE,
    add_dataset,
    add_json,
    add_limit,
    add_output,
    add_torch_only,
    check_at_least,
    dataset_options,
)
from seg_ros.datasets.open import open_images
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.errors import ParameterError
from seg_ros.evaluation.embedding_pictures import spots_at
from seg_ros.evaluation.embedding_views import EmbeddedModel
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.reports.embedding_report import report_embeddings
from seg_ros.reports.unit_portraits import load_subjects
from seg_ros.reports.unit_report import projectable_field, report_units

_N_UNITS, _N_PEAKS, _N_IMAGES = 8, 9, 4
_OPTIONS_OF_OTHER = {'--embeddings': ('units', 'unit', 'peaks', 'compare'), '--layer': ('at',)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('model', metavar='MODEL', help=MODEL_FILE)
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument(
        '--layer', metavar='L', help='layer whose units are drawn; an unknown name lists all layers'
    )
    subject.add_argument(
        '--embeddings', action='store_true', help='draw the learned embeddings and the filter that uses them'
    )
    add_dataset(parser, default='folder', classes=True)
    add_limit(parser, f'all; {_N_IMAGES} with --embeddings')
    add_output(parser, 'FOLDER', 'folder for page and pictures (default: units or embeddings)')
    add_json(parser)
    add_torch_only(parser, 'other backends do not give the output of inner layers')
    layers = parser.add_argument_group('with --layer')
    layers.add_argument(
        '--units', type=int, metavar='N', help=f'number of most distinct units to show (default: {_N_UNITS})'
    )
    layers.add_argument('--unit', type=int, nargs='+', metavar='K', help='units to show instead')
    layers.add_argument(
        '--peaks', type=int, metavar='N', help=f'number of patches for each unit (default: {_N_PEAKS})'
    )
    layers.add_argument(
        '--compare', nargs='+', metavar='MODEL', help='models to compare, such as pruned versions of MODEL'
    )
    embeddings = parser.add_argument_group('with --embeddings')
    embeddings.add_argument(
        '--at',
        type=int,
        nargs='+',
        metavar=('X', 'Y'),
        help='pixels of the input of the network whose masks are shown (default: chosen for each image)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, draw, and write page, pictures and figures."""
    check_at_least(arguments, units=1, peaks=1, limit=1)
    used = '--embeddings' if arguments.embeddings else '--layer'
    for option in _OPTIONS_OF_OTHER[used]:
        if getattr(arguments, option) is not None:
            raise ParameterError(f'--{option} means nothing with {used}; leave it out')
    facts = _report_embeddings(arguments) if arguments.embeddings else _report_units(arguments)
    print(format_table(facts))
    return 0


def _report_units(arguments: argparse.Namespace) -> dict[str, str]:
    """Report on the units of a layer; returns facts to print."""
    subjects = load_subjects(
        [arguments.model, *(arguments.compare or [])],
        arguments.layer,
        arguments.quantization,
        arguments.device,
        arguments.peaks or _N_PEAKS,
    )
    projectable_field(subjects[0])  # before the data set is opened
    n_units = subjects[0].n_units
    for unit in arguments.unit or ():
        if not 0 <= unit < n_units:
            raise ParameterError(f'--unit is {unit}; layer {arguments.layer} has units 0..{n_units - 1}')
    report = report_units(
        arguments.output or Path('units'),
        subjects,
        arguments.layer,
        _open_images(arguments, None),
        f'{arguments.dataset} {arguments.split}',
        units=arguments.unit,
        n_units=arguments.units or _N_UNITS,
    )
    write_json(arguments.json, report.figures)
    return report.facts


def _report_embeddings(arguments: argparse.Namespace) -> dict[str, str]:
    """Report on the embeddings of a model; returns facts to print."""
    model = EmbeddedModel.load(arguments.model, arguments.quantization, arguments.device)
    spots = spots_at(arguments.at or (), model)
    report = report_embeddings(
        arguments.output or Path('embeddings'),
        model,
        _open_images(arguments, _N_IMAGES),
        f'{arguments.dataset} {arguments.split}',
        spots,
    )
    data = {'dataset': arguments.dataset, 'split': arguments.split}
    write_json(arguments.json, data | report.figures)
    return report.facts


def _open_images(arguments: argparse.Namespace, default: int | None) -> EvenSample:
    """Open the data set, and take ``--limit``, or ``default``, or all of its images."""
    dataset = open_images(arguments.dataset, arguments.data, arguments.split, dataset_options(arguments))
    return EvenSample(dataset, arguments.limit or default or len(dataset))
