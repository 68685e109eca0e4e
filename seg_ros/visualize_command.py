"""``seg_ros visualize``: what the units of a layer respond to, and what compression makes of it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from seg_ros.checkpoint import Model, load_model
from seg_ros.choice import choose_quantization
from seg_ros.data.dataset import Dataset, existing_folder, images_by_stem, pairs_of_split, read_image
from seg_ros.errors import DatasetError, ParameterError, UnavailableError
from seg_ros.evaluate.report import table, write_json
from seg_ros.evaluate.units import (
    FloatArray,
    Peak,
    ReceptiveField,
    UnitRecord,
    Watched,
    layer_maps,
    match_units,
    project,
    reach,
    receptive_field,
    watch,
)
from seg_ros.evaluate.units_page import Portrait, as_picture, cut_out, with_ring, write_page, write_sheet
from seg_ros.image import ImageNetwork
from seg_ros.labels import ClassSet
from seg_ros.pipeline import find_model
from seg_ros.registry import DATASETS, QUANTIZATIONS, look_up
from seg_ros.runtime.backend import choose_device
from seg_ros.types import UNLABELLED, UInt8Array

_LEAST_REACH = 24
"""Pixels around the middle of a unit's place that are shown at least, if the unit sees so far."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('model', metavar='MODEL', help='model file: a path, or the name of a shipped model')
    parser.add_argument('--layer', required=True, metavar='L', help='name; a wrong one lists those there are')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set, or folder of images')
    parser.add_argument(
        '--dataset', choices=list(DATASETS), default='folder', help='kind of data set (default: %(default)s)'
    )
    parser.add_argument('--split', default='val', help='part of the data set (default: %(default)s)')
    parser.add_argument('--classes', help='class file of a folder data set with labels: name or path')
    parser.add_argument('--limit', type=int, metavar='N', help='look at N images spread over the split')
    parser.add_argument(
        '--units', type=int, default=8, metavar='N', help='show the N that stand out most (%(default)s)'
    )
    parser.add_argument('--unit', type=int, nargs='+', metavar='K', help='show these instead')
    parser.add_argument('--peaks', type=int, default=9, metavar='N', help='places of a unit (%(default)s)')
    parser.add_argument(
        '--compare', nargs='+', default=[], metavar='MODEL', help='models made from it, by pruning and so on'
    )
    parser.add_argument(
        '-o', '--output', type=Path, default=Path('units'), metavar='FOLDER', help='default: %(default)s'
    )
    parser.add_argument('--json', type=Path, metavar='OUT', help='write the figures of all units here')
    parser.add_argument('--device', default='auto', help='auto, cpu, or cuda:N (default: %(default)s)')
    parser.add_argument('--quantization', default='auto', help='auto, or a level (default: %(default)s)')
    parser.add_argument(
        '--backend',
        default='auto',
        choices=('auto', 'torch'),
        help='torch alone walks back through a network',
    )


def run(arguments: argparse.Namespace) -> int:
    """Look, project, and write page, pictures and figures."""
    for option in ('units', 'peaks', 'limit'):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise ParameterError(f'--{option} is {value}; expected 1 or more')
    first, *others = (
        Subject.load(name, arguments.layer, arguments.quantization, arguments.device, arguments.peaks)
        for name in (arguments.model, *arguments.compare)
    )
    if len({subject.name for subject in (first, *others)}) <= len(others):  # best.safetensors of several runs
        first, *others = (replace(s, name=str(s.model.path.with_suffix(''))) for s in (first, *others))
    if first.field is None:
        raise UnavailableError(
            f'{first.model.path} computes in whole numbers, which cannot be walked back to pixels; '
            'name its float parent first and this one after --compare'
        )
    for unit in arguments.unit or ():
        if not 0 <= unit < first.n_units:
            raise ParameterError(f'--unit {unit}: layer {arguments.layer} has units 0..{first.n_units - 1}')
    dataset = open_images(arguments.dataset, arguments.data, arguments.split, arguments.classes)
    n_images = min(arguments.limit or len(dataset), len(dataset))
    chosen = [k * len(dataset) // n_images for k in range(n_images)]
    seen = tqdm(chosen, desc='looking', unit='image', disable=None)
    watch([subject.watched for subject in (first, *others)], (dataset[index][0] for index in seen))
    comparisons = [Comparison.of(first, other) for other in others]
    gallery = Gallery(dataset, chosen, first.field)
    arguments.output.mkdir(parents=True, exist_ok=True)
    units: dict[int, list[Portrait]] = {}
    shown = list(dict.fromkeys(arguments.unit or choose_units(first.watched.record, arguments.units)))
    for unit in tqdm(shown, desc='projecting', unit='unit', disable=None):
        units[unit] = [gallery.portrait(first, unit), *(c.portrait(gallery, unit) for c in comparisons)]
        write_sheet(arguments.output / f'unit_{unit:04}.png', units[unit])
    page = arguments.output / 'index.html'
    facts = _facts(arguments, first, first.field, f'{n_images} of {len(dataset)}')
    rows = [first.as_row(), *(c.as_row() for c in comparisons)]
    write_page(page, f'{first.name}: what {arguments.layer} responds to', facts, rows, units)
    write_json(arguments.json, as_json(first, comparisons, [dataset.names[index] for index in chosen]))
    print(table({**facts, **{c.other.name: c.as_text() for c in comparisons}, 'page': str(page)}))
    return 0


class UnlabelledFolder:
    """Images of a folder as a data set without classes.

    They lie as those of a ``folder`` data set do (``images/``, with splits), or in ``<split>/`` or the folder
    itself.

    Raises:
        DatasetError: there is no image.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        root = existing_folder(root)
        if (root / 'images').is_dir() or (root / split / 'images').is_dir():
            self._paths = [image for image, _ in pairs_of_split(root, split, 'images')]
        else:
            self._paths = list(images_by_stem(root / split if (root / split).is_dir() else root).values())
        self.classes = ClassSet(())
        self.names = [path.stem for path in self._paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image = read_image(self._paths[index])
        return image, np.full(image.shape[:2], UNLABELLED, np.uint8)


def open_images(kind: str, root: Path | None, split: str, classes: str | None) -> Dataset:
    """A data set, whose labels may be missing if it is a folder.

    Raises:
        DatasetError: it needs a folder, or the folder is not as it should be.
        UnknownNameError: there is no such data set.
    """
    if kind == 'folder' and classes is None:
        return UnlabelledFolder(root, split)
    try:
        return look_up(DATASETS, kind, 'data set')(root, split, **({'classes': classes} if classes else {}))
    except TypeError as err:
        raise DatasetError(f'data set {kind} takes no --classes: {err}') from err


@dataclass(frozen=True)
class Subject:
    """A model whose layer is looked into.

    Attributes:
        name: of the file.
        model: its content.
        quantization: level it computes in.
        watched: the layer.
        n_units: of the layer.
        field: what its units see; None where that cannot be measured.
    """

    name: str
    model: Model
    quantization: str
    watched: Watched
    n_units: int
    field: ReceptiveField | None

    @classmethod
    def load(cls, name: str, layer: str, quantization: str, device: str, n_peaks: int) -> 'Subject':
        """Read a model file and find the layer in it.

        Raises:
            ModelFileError: the file cannot be used.
            UnknownNameError: it has no such layer; lists those it has.
        """
        model = load_model(find_model(name))
        level = choose_quantization(model, quantization)
        images = ImageNetwork(model.network, model.description.normalisation, QUANTIZATIONS[level].dtype)
        images.eval().to(choose_device(device))
        size = model.description.input_size
        watched = Watched(images, layer, size, UnitRecord(n_peaks))
        with torch.no_grad():
            n_units = len(layer_maps(images, layer, watched.input_of(np.zeros((*size, 3), np.uint8))))
        try:
            field = receptive_field(images, layer, size)
        except UnavailableError:
            field = None
        return cls(model.path.stem, model, level, watched, n_units, field)

    def as_row(self) -> dict[str, str]:
        """The model in the page's table."""
        return {
            'model': self.name,
            'computes in': self.quantization,
            'units': str(self.n_units),
            'removed': '',
            'correlation (median)': '',
        }


@dataclass(frozen=True)
class Comparison:
    """A model beside the first.

    Attributes:
        first: the model it was made from.
        other: the model.
        matched: for each unit of the first its unit, None where it was removed.
        correlations: (C,) of matched units, 0 for removed ones.
    """

    first: Subject
    other: Subject
    matched: list[int | None]
    correlations: FloatArray

    @classmethod
    def of(cls, first: Subject, other: Subject) -> 'Comparison':
        """Match the units of two models that have been shown the same images."""
        correlation = other.watched.correlation.matrix()
        matched = match_units(correlation)
        values = [0.0 if k is None else correlation[unit, k] for unit, k in enumerate(matched)]
        return cls(first, other, matched, np.array(values))

    @property
    def removed(self) -> list[int]:
        """Units of the first model that this one does not have."""
        return [unit for unit, k in enumerate(self.matched) if k is None]

    @property
    def median(self) -> float:
        """Correlation of the units that are left, in the middle of all."""
        left = [c for c, k in zip(self.correlations, self.matched, strict=True) if k is not None]
        return float(np.median(left))

    def change(self, unit: int) -> float | None:
        """Of a unit's mean activation, in standard deviations of the first model's; None where it is gone."""
        index, before, after = self.matched[unit], self.first.watched.record, self.other.watched.record
        if index is None:
            return None
        return float((after.mean[index] - before.mean[unit]) / max(before.std[unit], 1e-12))

    def portrait(self, gallery: 'Gallery', unit: int) -> Portrait:
        """What has become of a unit."""
        index = self.matched[unit]
        if index is None:
            return Portrait(self.other.name, None)
        change, correlation = self.change(unit), float(self.correlations[unit])
        return replace(gallery.portrait(self.other, index), change=change, correlation=correlation)

    def as_row(self) -> dict[str, str]:
        """The model in the page's table."""
        removed = ', '.join(map(str, self.removed))
        n = f'{len(self.removed)}: ' if removed else 'none'
        return {
            **self.other.as_row(),
            'removed': f'{n}{removed}',
            'correlation (median)': f'{self.median:.3f}',
        }

    def as_text(self) -> str:
        """The same in a line."""
        return f'{len(self.removed)} of {len(self.matched)} units removed, correlation {self.median:.3f}'


@dataclass(frozen=True)
class Gallery:
    """Where the pictures of peaks come from.

    Attributes:
        dataset: the images.
        indices: of those that were shown, in that order.
        field: what units of the layer see.
    """

    dataset: Dataset
    indices: Sequence[int]
    field: ReceptiveField

    def portrait(self, subject: Subject, unit: int) -> Portrait:
        """What moves a unit, and what it sees there."""
        watched, record = subject.watched, subject.watched.record
        field = subject.field or self.field
        peaks, places, classes = record.peaks(unit), [], Counter[str]()
        for peak in peaks:
            image, labels = self.dataset[self.indices[peak.image]]
            pixels = watched.input_of(image)
            projection = None
            if subject.field is not None:
                projection = project(watched.network, watched.layer, pixels, unit, peak.row, peak.column)
            centre = field.centre(peak.row, peak.column, watched.size)
            class_id = labels[
                tuple(c * n // m for c, n, m in zip(centre, labels.shape, watched.size, strict=True))
            ]
            if class_id != UNLABELLED:
                classes[self.dataset.classes.names[class_id]] += 1
            places.append((peak, centre, pixels.cpu().numpy(), projection))
        reaches = [reach(p, *centre) for _, centre, _, p in places if p is not None] or [max(watched.size)]
        span = max(_LEAST_REACH, int(np.median(reaches)))
        patches, projections = [], []
        for peak, centre, image, projection in places:
            window = _window(field, peak, centre, span, watched.size)
            ((top, _), (left, _)) = window
            patches.append(with_ring(cut_out(image, *window), centre[0] - top, centre[1] - left))
            if projection is not None:
                projections.append(cut_out(as_picture(projection), *window))
        return Portrait(
            subject.name,
            unit,
            float(record.mean[unit]),
            float(record.sparsity[unit]),
            peaks=peaks,
            patches=patches,
            projections=projections,
            classes=classes,
        )


def choose_units(record: UnitRecord, n: int) -> list[int]:
    """The units whose peaks lie farthest above their mean, in standard deviations, the farthest first."""
    n_units = len(record.mean)
    heights = np.array([np.mean([peak.value for peak in record.peaks(unit)]) for unit in range(n_units)])
    distance = (heights - record.mean) / np.maximum(record.std, 1e-12)
    return [int(unit) for unit in np.argsort(-distance, kind='stable')[:n]]


def as_json(first: Subject, comparisons: Sequence[Comparison], names: Sequence[str]) -> dict[str, Any]:
    """The figures of all units, under the keys that all reports share where they have one."""

    def described(subject: Subject, unit: int) -> dict[str, Any]:
        record = subject.watched.record
        return {
            'unit': unit,
            'mean_activation': float(record.mean[unit]),
            'sparsity': float(record.sparsity[unit]),
            'peaks': [{**asdict(peak), 'image': names[peak.image]} for peak in record.peaks(unit)],
        }

    return {
        'path': str(first.model.path),
        'digest': first.model.digest,
        'quantization': first.quantization,
        'layer': first.watched.layer,
        'n_images': len(names),
        'units': [described(first, unit) for unit in range(first.n_units)],
        'compared': [
            {
                'path': str(c.other.model.path),
                'digest': c.other.model.digest,
                'quantization': c.other.quantization,
                'removed': c.removed,
                'units': [
                    {
                        'parent_unit': unit,
                        'correlation': float(c.correlations[unit]),
                        'change': c.change(unit),
                        **described(c.other, index),
                    }
                    for unit, index in enumerate(c.matched)
                    if index is not None
                ],
            }
            for c in comparisons
        ],
    }


def _window(
    field: ReceptiveField, peak: Peak, centre: tuple[int, int], span: int, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and behind the last row, and column, of what is shown: what the unit sees and makes use of."""
    sides = []
    bounds = (field.top, field.bottom), (field.left, field.right)
    for axis, (low, high) in enumerate(bounds):
        origin = (peak.row, peak.column)[axis] * field.stride[axis]
        start, stop = max(origin + low, centre[axis] - span), min(origin + high, centre[axis] + span + 1)
        sides.append((int(start), int(stop)) if stop - start < size[axis] else (0, size[axis]))
    return sides[0], sides[1]


def _facts(
    arguments: argparse.Namespace, first: Subject, field: ReceptiveField, n_images: str
) -> dict[str, str]:
    height, width = first.watched.size
    seen = f'{field.height:.0f} x {field.width:.0f} pixels'
    if not np.isfinite(field.height + field.width):
        seen = 'up to the border of the image'
    return {
        'model': f'{first.model.path.name}, {first.model.description.architecture}',
        'layer': f'{arguments.layer}, {first.n_units} units, one for each '
        f'{field.stride[0]} x {field.stride[1]} pixels',
        'a unit sees': f'{seen}, of {height} x {width}',
        'images': f'{n_images}, {arguments.dataset} {arguments.split}',
    }
