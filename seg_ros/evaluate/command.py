"""``seg_ros evaluate``: accuracy of a model on a data set."""

import argparse
import json
from pathlib import Path

from seg_ros.errors import DatasetError
from seg_ros.evaluate.accuracy import measure_accuracy
from seg_ros.model_arguments import add_model_arguments, settings_from
from seg_ros.pipeline import Pipeline
from seg_ros.registry import DATASETS, look_up


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', choices=list(DATASETS), help='kind of data set')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set: name or path')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the figures."""
    options = {'classes': arguments.classes} if arguments.classes else {}
    try:
        dataset = look_up(DATASETS, arguments.dataset, 'data set')(arguments.data, arguments.split, **options)
    except TypeError as err:
        raise DatasetError(f'data set {arguments.dataset} needs --data or --classes: {err}') from err
    pipeline = Pipeline.load(settings_from(arguments))
    accuracy = measure_accuracy(pipeline, dataset)
    print(accuracy.as_text())
    if arguments.json:
        report = {
            'dataset': arguments.dataset,
            'split': arguments.split,
            **pipeline.as_json(),
            **accuracy.as_json(),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0
