"""``seg_ros show-data``: what is in a data set, and whether all of it can be read."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from tqdm import tqdm

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.cli.compress_options import mapping_from
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.registry import DATASETS
from seg_ros.drawing.overlay import Overlay, contact_sheet
from seg_ros.errors import DatasetError
from seg_ros.evaluation.figures import write_json
from seg_ros.training.recipe import Source
from seg_ros.training.sources import open_source

_SHEET_WIDTH, _PAIRS_A_ROW, _N_SHOWN = 1500, 3, 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', choices=list(DATASETS), help='kind of data set')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument('--split', default='train', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set: name or path')
    parser.add_argument('--options', default='{}', metavar='YAML', help='further options of the data set')
    parser.add_argument('--sheet', type=Path, metavar='PNG', help='draw some images under their labels')
    parser.add_argument(
        '--copy', type=Path, metavar='DIR', help='write all of it as a folder data set with its classes.yaml'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')


def run(arguments: argparse.Namespace) -> int:
    """Count, print, draw and copy; 1 if an image cannot be read."""
    options = mapping_from(arguments.options, '--options')
    if arguments.classes:
        options = {**options, 'classes': arguments.classes}
    dataset = open_source(Source(arguments.dataset, arguments.split, options=options), arguments.data)
    copy = _Copy(arguments.copy, arguments.split, dataset) if arguments.copy else None
    inventory, shown = (
        Inventory(dataset),
        set(np.linspace(0, len(dataset) - 1, _N_SHOWN).astype(int).tolist()),
    )
    overlay, cells, n_bad = Overlay(dataset.classes), list[UInt8Array](), 0
    for index in tqdm(range(len(dataset)), desc='reading', unit='image', disable=None):
        try:
            image, labels = dataset[index]
        except DatasetError as err:
            n_bad += 1
            tqdm.write(f'seg_ros: {err}', sys.stderr)
            continue
        inventory.add(labels)
        if copy:
            copy.add(dataset.names[index], image, labels)
        if index in shown and arguments.sheet:
            cells += [image, overlay(image, labels, opacity=0.6, legend=not cells)]
    print(inventory.as_text() + (f'\nbad images: {n_bad} of {len(dataset)}' if n_bad else ''))
    write_json(arguments.json, {**inventory.as_json(), 'n_bad': n_bad})
    if cells:
        _write_sheet(arguments.sheet, cells)
    return 1 if n_bad else 0


class Inventory:
    """Counts what a data set holds.

    Args:
        dataset: whose labels are counted.

    Attributes:
        pixels: (256,) int64, of each value.
        images: (256,) int64, in which the value occurs.
        sizes: (height, width) -> how many images.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._classes = dataset.classes
        self.pixels = np.zeros(256, np.int64)
        self.images = np.zeros(256, np.int64)
        self.sizes: Counter[tuple[int, int]] = Counter()

    def add(self, labels: UInt8Array) -> None:
        """Count (H, W) uint8 labels."""
        counts: npt.NDArray[np.int64] = np.bincount(labels.ravel(), minlength=256)
        self.pixels += counts
        self.images += counts > 0
        self.sizes[labels.shape[0], labels.shape[1]] += 1

    def as_json(self) -> dict[str, Any]:
        """Shares of all pixels, 0..1, and in how many images each class is."""
        shares = self.pixels / max(int(self.pixels.sum()), 1)
        names = self._classes.names
        return {
            'n_images': sum(self.sizes.values()),
            'sizes': [[*size, n] for size, n in self.sizes.most_common()],
            'class_shares': {name: float(shares[k]) for k, name in enumerate(names)},
            'class_images': {name: int(self.images[k]) for k, name in enumerate(names)},
            'unlabelled': float(shares[UNLABELLED]),
        }

    def as_text(self) -> str:
        """The same as a table."""
        figures = self.as_json()
        sizes = ', '.join(f'{n} of {width} x {height}' for height, width, n in figures['sizes'])
        width = max(len(name) for name in (*self._classes.names, 'unlabelled'))
        lines = [f'images: {sizes}', f'{"class":{width}}  pixels %  images']
        rows = {**figures['class_shares'], 'unlabelled': figures['unlabelled']}
        counts = {**figures['class_images'], 'unlabelled': int(self.images[UNLABELLED])}
        lines += [f'{name:{width}}  {100 * share:8.3f}  {counts[name]:6}' for name, share in rows.items()]
        return '\n'.join(lines)


class _Copy:
    """Writes a split as ``images/<split>/``, ``labels/<split>/`` and ``classes.yaml`` of a folder."""

    def __init__(self, root: Path, split: str, dataset: Dataset) -> None:
        self._folders = [root / kind / split for kind in ('images', 'labels')]
        for folder in self._folders:
            if folder.is_dir() and any(folder.iterdir()):
                raise DatasetError(f'{folder} holds files already; choose another folder or split')
            folder.mkdir(parents=True, exist_ok=True)
        rows = yaml.safe_dump(
            {'classes': dataset.classes.as_json()}, sort_keys=False, default_flow_style=None
        )
        (root / 'classes.yaml').write_text(rows)

    def add(self, name: str, image: UInt8Array, labels: UInt8Array) -> None:
        for folder, picture in zip(self._folders, (image[..., ::-1], labels), strict=True):
            if not cv2.imwrite(str(folder / f'{name}.png'), np.ascontiguousarray(picture)):
                raise DatasetError(f'{folder / name}.png cannot be written')


def _write_sheet(path: Path, cells: list[UInt8Array]) -> None:
    """Images and their labels, three pairs a row."""
    step = 2 * _PAIRS_A_ROW
    rows = [cells[start : start + step] for start in range(0, len(cells), step)]
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(rows, [''] * step, _SHEET_WIDTH)
    if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise DatasetError(f'{path} cannot be written')
    print(f'sheet: {path}')
