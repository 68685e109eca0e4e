"""``seg_ros compare``: accuracy, size, speed and memory of models, side by side."""

import argparse
import os
import platform
from pathlib import Path

import torch

from seg_ros.cli.options import (
    MODEL_FILE,
    add_dataset,
    add_device,
    add_json,
    add_limit,
    check_at_least,
    dataset_from,
    dataset_options,
)
from seg_ros.datasets.wrappers import EvenSample
from seg_ros.errors import ParameterError
from seg_ros.evaluation.candidates import VARIANTS
from seg_ros.evaluation.compare import Comparison, compare
from seg_ros.evaluation.figures import write_json
from seg_ros.evaluation.learnt import MeasuredSplit
from seg_ros.evaluation.sensitivity import Sensitivity, measure_sensitivity
from seg_ros.evaluation.timing import N_ROUNDS
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.reports.compare_page import write_page
from seg_ros.reports.compare_tables import as_csv, as_text, check_markdown, write_markdown
from seg_ros.reports.fronts import PLOT_SUFFIXES, check_matplotlib, save_fronts

_SENSITIVITY_IMAGES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'models',
        nargs='+',
        metavar='MODEL',
        help=f'{MODEL_FILE}; the first model is the reference for the others',
    )
    add_dataset(parser, default='camvid', classes=True)
    add_limit(parser)
    parser.add_argument(
        '--levels',
        type=lambda text: [level for level in text.split(',') if level],
        default=[],
        metavar='LEVEL,...',
        help=f'further levels of quantization, where a file allows them: {", ".join(QUANTIZATIONS)}; or all',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=list(VARIANTS),
        default=[],
        help='further variants of the models that have the embeddings or codes for them',
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=N_ROUNDS,
        metavar='N',
        help='number of rounds in which all models are timed in turn (default: %(default)s)',
    )
    _add_outputs(parser)
    parser.add_argument(
        '--sensitivity',
        type=int,
        nargs='?',
        const=_SENSITIVITY_IMAGES,
        default=0,
        metavar='N',
        help='change each layer of the first model alone, and measure on N images (default: %(const)s)',
    )
    _add_settings(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    parser.add_argument('--csv', type=Path, metavar='OUT', help='CSV file for the table')
    parser.add_argument('--html', type=Path, metavar='OUT', help='HTML page with plots and images')
    parser.add_argument(
        '--plot',
        type=Path,
        metavar='OUT',
        help='picture of mean IoU against each cost, with the front of the best models (PNG, SVG or PDF)',
    )
    parser.add_argument(
        '--markdown',
        type=Path,
        metavar='FILE',
        help='Markdown file in which the table is put between its two markers',
    )
    parser.add_argument(
        '--worst',
        type=int,
        default=3,
        metavar='N',
        help='number of images with the largest losses on the page (default: %(default)s)',
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument(
        '--quantization',
        choices=('auto', *QUANTIZATIONS),
        default='auto',
        metavar='LEVEL',
        help='level of quantization of all models; auto = the level of each file (default: %(default)s)',
    )
    parser.add_argument(
        '--backend',
        choices=('auto', *BACKENDS),
        default='auto',
        help='inference backend; auto = the fastest for each model (default: %(default)s)',
    )
    parser.add_argument(
        '--n-threads',
        type=int,
        default=0,
        metavar='N',
        help='number of CPU threads; 0 = one for each core (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the results; 1 if a model could not be measured."""
    check_at_least(arguments, rounds=1, worst=0, sensitivity=0)
    _check_outputs(arguments)
    settings = Settings.from_values(
        {name: getattr(arguments, name) for name in ('quantization', 'backend', 'device', 'n_threads')}
    )
    whole = dataset_from(arguments)
    dataset = EvenSample(whole, len(whole) if arguments.limit is None else arguments.limit)
    comparison = compare(
        arguments.models,
        dataset,
        settings,
        split=MeasuredSplit(arguments.dataset, arguments.split, dataset_options(arguments)),
        levels=list(QUANTIZATIONS) if arguments.levels == ['all'] else arguments.levels,
        variants=arguments.variants,
        n_rounds=arguments.rounds,
        n_worst=arguments.worst,
    )
    print(as_text(comparison))
    _write(arguments, comparison, None)  # an error in the next step must not lose these results
    if arguments.sensitivity:
        sample = EvenSample(dataset, arguments.sensitivity)
        model = load_model(arguments.models[0])
        sensitivity = measure_sensitivity(model, sample, choose_device(arguments.device))
        print(sensitivity.as_text())
        _write(arguments, comparison, sensitivity)
    return 1 if comparison.failed else 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse outputs that cannot be written, before the measurement, which may take hours.

    Raises:
        ParameterError: A file cannot be written or has an unknown suffix, or a Markdown file has no markers
            for the table.
        UnavailableError: Matplotlib is not installed.
    """
    for option in ('json', 'csv', 'html', 'plot'):
        path = getattr(arguments, option)
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not os.access(path if path.exists() else path.parent, os.W_OK):
                    raise PermissionError('writing is not allowed')
        except OSError as err:
            raise ParameterError(f'--{option} {path}: {err}; name another file') from err
    if arguments.markdown:
        check_markdown(arguments.markdown)
    if arguments.plot and arguments.plot.suffix not in PLOT_SUFFIXES:
        known = ', '.join(PLOT_SUFFIXES)
        raise ParameterError(f'--plot {arguments.plot}: unknown kind of picture; expected one of {known}')
    if arguments.html or arguments.plot:
        check_matplotlib()


def _write(arguments: argparse.Namespace, comparison: Comparison, sensitivity: Sensitivity | None) -> None:
    """Write all requested files."""
    data = {'dataset': arguments.dataset, 'split': arguments.split}
    further = {} if sensitivity is None else {'sensitivity': sensitivity.as_json()}
    write_json(arguments.json, {**data, **comparison.as_json(), **further})
    if arguments.csv:
        arguments.csv.parent.mkdir(parents=True, exist_ok=True)
        arguments.csv.write_text(as_csv(comparison), encoding='utf-8')
    if arguments.markdown:
        write_markdown(arguments.markdown, comparison)
    if arguments.plot:
        save_fronts(arguments.plot, comparison.rows)
    if arguments.html:
        title = f'{comparison.rows[0].name} and other models on {arguments.dataset} {arguments.split}'
        write_page(arguments.html, title, _facts(arguments, comparison), comparison, sensitivity)


def _facts(arguments: argparse.Namespace, comparison: Comparison) -> dict[str, str]:
    """Conditions of the measurement, for the page."""
    first = comparison.rows[0]
    computer = platform.processor() or platform.machine()
    return {
        'images': f'{len(comparison.dataset)} of {arguments.dataset} {arguments.split}',
        'first model': f'{first.facts["path"]}, {first.input_size[1]} x {first.input_size[0]} pixels',
        'computer': f'{computer}, {os.cpu_count()} cores, torch {torch.__version__}, {first.facts["device"]}',
        'latency': 'time of the network alone; each model runs in another process, and all run in turn, '
        f'in {arguments.rounds} rounds; memory is the maximum of the process',
        'energy': 'estimate from published figures for 45 nm; it ranks models, whatever the computer',
    }
