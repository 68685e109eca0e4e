"""``seg_ros compare``: what models give and cost, side by side."""

import argparse
import os
import platform
from pathlib import Path

import torch

from seg_ros.cli.evaluate import open_dataset
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import ParameterError
from seg_ros.evaluation.candidates import VARIANTS
from seg_ros.evaluation.compare import Comparison, EvenSample, compare
from seg_ros.evaluation.figures import table, write_json
from seg_ros.evaluation.sensitivity import Effect, Sensitivity, measure_sensitivity
from seg_ros.evaluation.timing import N_ROUNDS
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.reports.compare_page import write_page
from seg_ros.reports.compare_tables import as_csv, as_text, check_markdown, write_markdown
from seg_ros.reports.fronts import check_matplotlib

_SENSITIVITY_IMAGES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'models',
        nargs='+',
        metavar='MODEL',
        help='file or shipped name; the others are compared with the first',
    )
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument(
        '--dataset', choices=list(DATASETS), default='camvid', help='kind of data set (default: %(default)s)'
    )
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set: name or path')
    parser.add_argument('--limit', type=int, metavar='N', help='measure on N images spread over the split')
    parser.add_argument(
        '--levels',
        type=lambda text: [level for level in text.split(',') if level],
        default=[],
        metavar='LEVEL,...',
        help=f'measure at these too, where a file gives them: {", ".join(QUANTIZATIONS)}, or all',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=list(VARIANTS),
        default=[],
        help='measure models with these too, where they have the embeddings or codes that it takes',
    )
    parser.add_argument(
        '--rounds', type=int, default=N_ROUNDS, metavar='N', help='turns of each model (default: %(default)s)'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    parser.add_argument('--csv', type=Path, metavar='OUT', help='and here as a table')
    parser.add_argument('--html', type=Path, metavar='OUT', help='write a page with plots and images')
    parser.add_argument(
        '--markdown', type=Path, metavar='FILE', help='put the table between the marks of this file'
    )
    parser.add_argument(
        '--sensitivity',
        type=int,
        nargs='?',
        const=_SENSITIVITY_IMAGES,
        default=0,
        metavar='N',
        help='change each layer of the first model alone and measure on N images (default: %(const)s)',
    )
    parser.add_argument(
        '--worst', type=int, default=3, metavar='N', help='images that lose most, on the page (%(default)s)'
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, or cuda:N (default: %(default)s)')
    parser.add_argument(
        '--quantization',
        choices=('auto', *QUANTIZATIONS),
        default='auto',
        metavar='LEVEL',
        help='of all models; auto is what each file holds (default: %(default)s)',
    )
    parser.add_argument(
        '--backend', choices=('auto', *BACKENDS), default='auto', help='auto is the fastest of each model'
    )
    parser.add_argument(
        '--n-threads', type=int, default=0, metavar='N', help='of each model; 0 is one a core (%(default)s)'
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write what was asked for; 1 if a model could not be measured."""
    for option, least in (('rounds', 1), ('worst', 0), ('sensitivity', 0)):
        if getattr(arguments, option) < least:
            raise ParameterError(f'--{option} is {getattr(arguments, option)}; expected {least} or more')
    _check_outputs(arguments)
    settings = Settings.from_values(
        {name: getattr(arguments, name) for name in ('quantization', 'backend', 'device', 'n_threads')}
    )
    whole = open_dataset(arguments.dataset, arguments.data, arguments.split, arguments.classes)
    dataset = EvenSample(whole, len(whole) if arguments.limit is None else arguments.limit)
    comparison = compare(
        arguments.models,
        dataset,
        settings,
        levels=list(QUANTIZATIONS) if arguments.levels == ['all'] else arguments.levels,
        variants=arguments.variants,
        n_rounds=arguments.rounds,
        n_worst=arguments.worst,
    )
    print(as_text(comparison))
    _write(arguments, comparison, None)  # before anything else can go wrong
    if arguments.sensitivity:
        sample = EvenSample(dataset, arguments.sensitivity)
        model = load_model(arguments.models[0])
        sensitivity = measure_sensitivity(model, sample, choose_device(arguments.device))
        print(_most_sensitive(sensitivity))
        _write(arguments, comparison, sensitivity)
    return 1 if comparison.failed else 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be written, before hours are spent on it.

    Raises:
        ParameterError: a folder cannot be written to, or a Markdown file has no place for the table.
        UnavailableError: matplotlib is not installed.
    """
    for option in ('json', 'csv', 'html'):
        path = getattr(arguments, option)
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not os.access(path if path.exists() else path.parent, os.W_OK):
                    raise PermissionError('it may not be written to')
        except OSError as err:
            raise ParameterError(f'--{option} {path}: {err}; name another file') from err
    if arguments.markdown:
        check_markdown(arguments.markdown)
    if arguments.html:
        check_matplotlib()


def _write(arguments: argparse.Namespace, comparison: Comparison, sensitivity: Sensitivity | None) -> None:
    data = {'dataset': arguments.dataset, 'split': arguments.split}
    further = {} if sensitivity is None else {'sensitivity': sensitivity.as_json()}
    write_json(arguments.json, {**data, **comparison.as_json(), **further})
    if arguments.csv:
        arguments.csv.parent.mkdir(parents=True, exist_ok=True)
        arguments.csv.write_text(as_csv(comparison), encoding='utf-8')
    if arguments.markdown:
        write_markdown(arguments.markdown, comparison)
    if arguments.html:
        title = f'{comparison.rows[0].name} and other models on {arguments.dataset} {arguments.split}'
        write_page(arguments.html, title, _facts(arguments, comparison), comparison, sensitivity)


def _facts(arguments: argparse.Namespace, comparison: Comparison) -> dict[str, str]:
    first = comparison.rows[0]
    computer = platform.processor() or platform.machine()
    return {
        'images': f'{len(comparison.dataset)} of {arguments.dataset} {arguments.split}',
        'first model': f'{first.facts["path"]}, {first.input_size[1]} x {first.input_size[0]} pixels',
        'computer': f'{computer}, {os.cpu_count()} cores, torch {torch.__version__}, {first.facts["device"]}',
        'latency': 'of the network alone, each model in a process of its own and all in turns, '
        f'{arguments.rounds} rounds; memory is the most that this process took',
        'energy': 'an estimate from published figures for 45 nm; it ranks, and says nothing of this computer',
    }


def _most_sensitive(sensitivity: Sensitivity) -> str:
    """The layer that bears each change least, a line a change."""
    worst: dict[str, Effect] = {}
    for effect in sensitivity.effects:
        change = f'{effect.n_bits} bits' if effect.n_bits else f'{effect.removed:.0%} of channels'
        if change not in worst or effect.loss > worst[change].loss:
            worst[change] = effect
    rows = {
        change: f'{effect.layer}: {100 * effect.mean_iou:+.2f} points, loss {effect.loss:+.3f}'
        for change, effect in worst.items()
    }
    return f'most sensitive layers, alone, on {sensitivity.n_images} images\n{table(rows)}'
