"""``seg_ros evaluate``: accuracy of a model on a data set."""

import argparse
from pathlib import Path

from seg_ros.cli.options import add_measuring, check_at_least, dataset_options, measuring_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_measuring(parser)
    parser.add_argument(
        '--sheet', type=Path, metavar='PNG', help='picture file for the images with the lowest accuracy'
    )
    parser.add_argument(
        '--worst',
        type=int,
        default=8,
        metavar='N',
        help='number of images on that picture (default: %(default)s)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the figures."""
    from seg_ros.evaluation.accuracy import measure_accuracy
    from seg_ros.evaluation.figures import write_json
    from seg_ros.evaluation.learnt import MeasuredSplit
    from seg_ros.reports.worst_images import WorstImages

    check_at_least(arguments, worst=1)
    segmenter, dataset, translation = measuring_from(arguments)
    worst = WorstImages(dataset, arguments.worst) if arguments.sheet else None
    accuracy = measure_accuracy(segmenter, dataset, worst, translation)
    print(accuracy.as_text())
    split = MeasuredSplit(arguments.dataset, arguments.split, dataset_options(arguments))
    learnt = split.learnt_by(segmenter.model.metadata)
    if learnt:
        print(f'\n{segmenter.model.path.stem} {learnt}')
    if worst:
        worst.write_sheet(arguments.sheet)
        print('worst: ' + ', '.join(f'{name} ({100 * value:.0f})' for name, value in worst.ranking()))
    of_data = {'dataset': arguments.dataset, 'split': arguments.split, 'learnt': learnt or None}
    write_json(arguments.json, {**of_data, **segmenter.as_json(), **accuracy.as_json()})
    return 0
