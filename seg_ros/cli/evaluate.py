"""``seg_ros evaluate``: accuracy of a model on a data set."""

import argparse
import json
from pathlib import Path

from seg_ros.cli.model_options import add_model_arguments, settings_from
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import UnlabelledFolder
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import DatasetError, ParameterError, look_up
from seg_ros.evaluation.accuracy import measure_accuracy
from seg_ros.inference.segmenter import Segmenter
from seg_ros.reports.worst_images import WorstImages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', choices=list(DATASETS), help='kind of data set')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set: name or path')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    parser.add_argument('--sheet', type=Path, metavar='PNG', help='draw the images that it does worst')
    parser.add_argument(
        '--worst', type=int, default=8, metavar='N', help='of them on the sheet (default: %(default)s)'
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the figures."""
    if arguments.worst < 1:
        raise ParameterError(f'--worst is {arguments.worst}; expected 1 or more')
    dataset = open_dataset(arguments.dataset, arguments.data, arguments.split, arguments.classes)
    segmenter = Segmenter.load(settings_from(arguments))
    worst = WorstImages(dataset, arguments.worst) if arguments.sheet else None
    accuracy = measure_accuracy(segmenter, dataset, worst)
    print(accuracy.as_text())
    if worst:
        worst.write_sheet(arguments.sheet)
        print('worst: ' + ', '.join(f'{name} ({100 * value:.0f})' for name, value in worst.ranking()))
    if arguments.json:
        report = {
            'dataset': arguments.dataset,
            'split': arguments.split,
            **segmenter.as_json(),
            **accuracy.as_json(),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


def open_dataset(kind: str, root: Path | None, split: str, classes: str | None) -> Dataset:
    """A data set as the command line names it.

    Raises:
        DatasetError: it needs a folder or classes, or the folder is not as it should be.
        UnknownNameError: there is no such data set.
    """
    try:
        return look_up(DATASETS, kind, 'data set')(root, split, **({'classes': classes} if classes else {}))
    except TypeError as err:
        needs = 'takes no' if classes else 'needs'
        raise DatasetError(f'data set {kind} {needs} --classes: {err}') from err


def open_images(kind: str, root: Path | None, split: str, classes: str | None) -> Dataset:
    """The same, but a folder may hold images alone: it does where no classes are named.

    Raises:
        DatasetError, UnknownNameError: as :func:`open_dataset`.
    """
    if kind == 'folder' and classes is None:
        return UnlabelledFolder(root, split)
    return open_dataset(kind, root, split, classes)
