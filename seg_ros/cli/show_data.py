"""``seg_ros show-data``: count the content of a data set, check that it can be read, draw it, copy it."""

import argparse
import sys
from pathlib import Path

from seg_ros.cli.options import add_dataset, add_json, dataset_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_dataset(parser, split='train', classes=True, options=True)
    parser.add_argument(
        '--sheet', type=Path, metavar='PNG', help='picture file for some images with their labels'
    )
    parser.add_argument(
        '--copy', type=Path, metavar='DIR', help='folder for a copy as a folder data set with classes.yaml'
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Count, print, draw and copy; 1 if an image cannot be read, or the labels are of no use."""
    from tqdm import tqdm

    from seg_ros.datasets.folder_writer import FolderWriter, prepare_file
    from seg_ros.datasets.inventory import Inventory
    from seg_ros.errors import DatasetError, ImageError
    from seg_ros.evaluation.figures import write_json
    from seg_ros.reports.data_sheet import DataSheet

    for path in filter(None, (arguments.sheet, arguments.json)):
        prepare_file(path)
    dataset = dataset_from(arguments)
    copy = FolderWriter(arguments.copy, arguments.split, dataset.classes) if arguments.copy else None
    sheet = DataSheet(dataset) if arguments.sheet else None
    inventory, n_bad = Inventory(dataset.classes), 0
    for index in tqdm(range(len(dataset)), desc='reading', unit='image', disable=None):
        try:
            image, labels = dataset[index]
        except (DatasetError, ImageError) as err:
            n_bad += 1
            tqdm.write(f'seg_ros: {err}', sys.stderr)
            continue
        inventory.add(labels)
        if copy:
            copy.add(dataset.names[index], image, labels)
        if sheet:
            sheet.add(index, image, labels)
    print(inventory.as_text() + (f'\nbad images: {n_bad} of {len(dataset)}' if n_bad else ''))
    write_json(arguments.json, {**inventory.as_json(), 'n_bad': n_bad})
    if sheet and sheet.write(arguments.sheet):
        print(f'sheet: {arguments.sheet}')
    return 1 if n_bad or inventory.problem else 0
