"""``seg_ros visualize``: what the units of a layer respond to, and what embeddings tell apart."""

import argparse
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.cli.options import dataset_options
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.open import open_images
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.compare import EvenSample
from seg_ros.evaluation.deconvnet import ReceptiveField
from seg_ros.evaluation.embedding_pictures import EmbeddingColours, choose_spots, spots_at
from seg_ros.evaluation.embedding_views import EmbeddedModel, LabelChanges
from seg_ros.evaluation.figures import format_table, write_json
from seg_ros.evaluation.units import watch
from seg_ros.reports import embedding_page, units_page
from seg_ros.reports.embedding_plates import Painter, Plate
from seg_ros.reports.unit_portraits import (
    Gallery,
    Portrait,
    PortraitComparison,
    Subject,
    choose_units,
    load_subjects,
    units_as_json,
)

_N_UNITS, _N_PEAKS, _N_IMAGES = 8, 9, 4
_OF_LAYERS, _OF_EMBEDDINGS = ('units', 'unit', 'peaks', 'compare'), ('at',)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('model', metavar='MODEL', help='model file: a path, or the name of a shipped model')
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument('--layer', metavar='L', help='its units; a wrong name lists those there are')
    subject.add_argument(
        '--embeddings', action='store_true', help='the learned embeddings, and the filter that they drive'
    )
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set, or folder of images')
    parser.add_argument(
        '--dataset', choices=list(DATASETS), default='folder', help='kind of data set (default: %(default)s)'
    )
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set with labels: name or path')
    parser.add_argument(
        '--limit',
        type=int,
        metavar='N',
        help=f'look at N images spread over the split (default: all; {_N_IMAGES} for --embeddings)',
    )
    parser.add_argument('-o', '--output', type=Path, metavar='FOLDER', help='default: units, or embeddings')
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures here')
    parser.add_argument('--device', default='auto', help='auto, cpu, or cuda:N (default: %(default)s)')
    parser.add_argument('--quantization', default='auto', help='auto, or a level (default: %(default)s)')
    parser.add_argument(
        '--backend', default='auto', choices=('auto', 'torch'), help='torch alone shows what is inside'
    )
    layers = parser.add_argument_group('with --layer')
    layers.add_argument('--units', type=int, metavar='N', help=f'show the N that stand out most ({_N_UNITS})')
    layers.add_argument('--unit', type=int, nargs='+', metavar='K', help='show these instead')
    layers.add_argument('--peaks', type=int, metavar='N', help=f'places of a unit ({_N_PEAKS})')
    layers.add_argument(
        '--compare', nargs='+', metavar='MODEL', help='models made from it, by pruning and so on'
    )
    embeddings = parser.add_argument_group('with --embeddings')
    embeddings.add_argument(
        '--at',
        type=int,
        nargs='+',
        metavar=('X', 'Y'),
        help="show the masks at these pixels of the network's input, not at chosen ones",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look, draw, and write page, pictures and figures."""
    for option in ('units', 'peaks', 'limit'):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise ParameterError(f'--{option} is {value}; expected 1 or more')
    mode, foreign = ('--embeddings', _OF_LAYERS) if arguments.embeddings else ('--layer', _OF_EMBEDDINGS)
    for option in foreign:
        if getattr(arguments, option) is not None:
            raise ParameterError(f'--{option} means nothing with {mode}; leave it out')
    facts = _show_embeddings(arguments) if arguments.embeddings else _show_units(arguments)
    print(format_table(facts))
    return 0


def _show_units(arguments: argparse.Namespace) -> dict[str, str]:
    """A page and sheets of a layer's units; what is to be told of them."""
    first, *others = load_subjects(
        [arguments.model, *(arguments.compare or [])],
        arguments.layer,
        arguments.quantization,
        arguments.device,
        arguments.peaks or _N_PEAKS,
    )
    if first.receptive_field is None:
        raise UnavailableError(
            f'{first.model.path} computes in whole numbers, which cannot be walked back to pixels; '
            'name its float parent first and this one after --compare'
        )
    for unit in arguments.unit or ():
        if not 0 <= unit < first.n_units:
            raise ParameterError(f'--unit {unit}: layer {arguments.layer} has units 0..{first.n_units - 1}')
    dataset = open_images(arguments.dataset, arguments.data, arguments.split, dataset_options(arguments))
    images = EvenSample(dataset, arguments.limit or len(dataset))
    watch([s.watched for s in (first, *others)], (image for image, _ in _each(images)))
    comparisons = [PortraitComparison.of(first, other) for other in others]
    gallery = Gallery(images, first.receptive_field)
    folder = _made(arguments.output or Path('units'))
    units: dict[int, list[Portrait]] = {}
    chosen = arguments.unit or choose_units(first.watched.record, arguments.units or _N_UNITS)
    for unit in tqdm(dict.fromkeys(chosen), desc='projecting', unit='unit', disable=None):
        units[unit] = [gallery.portrait(first, unit), *(c.portrait(gallery, unit) for c in comparisons)]
        units_page.write_sheet(folder / f'unit_{unit:04}.png', units[unit])
    page = folder / 'index.html'
    facts = _facts_of_units(arguments.layer, first, first.receptive_field) | _facts_of_images(
        arguments, images, dataset
    )
    rows = [first.as_row(), *(c.as_row() for c in comparisons)]
    units_page.write_page(page, f'{first.name}: what {arguments.layer} responds to', facts, rows, units)
    write_json(arguments.json, units_as_json(first, comparisons, images.names))
    return facts | {c.other.name: c.as_text() for c in comparisons} | {'page': str(page)}


def _show_embeddings(arguments: argparse.Namespace) -> dict[str, str]:
    """A page and sheets of a model's embeddings; what is to be told of them."""
    model = EmbeddedModel.load(arguments.model, arguments.quantization, arguments.device)
    by_hand = spots_at(arguments.at or (), model)
    dataset = open_images(arguments.dataset, arguments.data, arguments.split, dataset_options(arguments))
    images = EvenSample(dataset, arguments.limit or _N_IMAGES)
    classes = model.model.metadata.classes
    is_judged = classes.names == dataset.classes.names
    views = [
        model.look(name, image, truth if is_judged else None)
        for name, (image, truth) in zip(images.names, _each(images), strict=True)
    ]
    spots = [
        by_hand or choose_spots(view, model.filter.window, model.embedding_metadata.stride) for view in views
    ]
    colours = EmbeddingColours().fit([view.embeddings for view in views])
    painter, plates = Painter(model, colours), list[Plate]()
    folder = _made(arguments.output or Path('embeddings'))
    for view, chosen in zip(tqdm(views, desc='drawing', unit='image', disable=None), spots, strict=True):
        plates.append(painter.plate(view, chosen))
        embedding_page.write_sheet(folder / f'{_file_name(view.name)}.png', plates[-1])
    change, page = sum((view.change for view in views), LabelChanges()), folder / 'index.html'
    facts = {
        **model.as_facts(),
        'colours': colours.as_text(),
        **_facts_of_images(arguments, images, dataset),
        'labels changed': change.as_text(),
    }
    if not is_judged and len(dataset.classes):
        facts['true labels'] = 'not compared: the data set tells other classes apart than the model'
    title = f'{model.model.path.stem}: what its embeddings tell apart'
    embedding_page.write_page(page, title, facts, classes, plates)
    report = {
        'dataset': arguments.dataset,
        'split': arguments.split,
        **model.as_json(),
        'n_images': len(images),
        'component_shares': colours.explained_variance_ratio_.tolist(),
        **change.as_json(),
        'images': [
            {'name': view.name, **view.change.as_json(), 'masks': [asdict(spot) for spot in chosen]}
            for view, chosen in zip(views, spots, strict=True)
        ],
    }
    write_json(arguments.json, report)
    return facts | {'page': str(page)}


def _each(images: EvenSample) -> Iterator[tuple[UInt8Array, UInt8Array]]:
    """Images and labels, with a bar that tells how far it got."""
    for index in tqdm(range(len(images)), desc='looking', unit='image', disable=None):
        yield images[index]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file_name(name: str) -> str:
    """The name of an image without what a file name must not have."""
    return re.sub(r'[^\w.-]', '_', name)


def _facts_of_units(layer: str, first: Subject, field: ReceptiveField) -> dict[str, str]:
    height, width = first.watched.size
    seen = f'{field.height:.0f} x {field.width:.0f} pixels'
    if not np.isfinite(field.height + field.width):
        seen = 'up to the border of the image'
    return {
        'model': f'{first.model.path.name}, {first.model.metadata.architecture}',
        'layer': f'{layer}, {first.n_units} units, one for each {field.stride[0]} x {field.stride[1]} pixels',
        'a unit sees': f'{seen}, of {height} x {width}',
    }


def _facts_of_images(arguments: argparse.Namespace, images: Dataset, dataset: Dataset) -> dict[str, str]:
    return {'images': f'{len(images)} of {len(dataset)}, {arguments.dataset} {arguments.split}'}
