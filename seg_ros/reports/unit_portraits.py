"""Models whose units are looked at, side by side, and what is drawn of each unit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from seg_ros.arrays import UNLABELLED, Float64Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.units import (
    Peak,
    ReceptiveField,
    UnitRecord,
    Watched,
    layer_maps,
    match_units,
    project,
    reach,
    receptive_field,
)
from seg_ros.inference.backends.backend import choose_device
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.precision import choose_quantization
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.reports.units_page import Portrait, as_picture, cut_out, with_ring

_LEAST_REACH = 24
"""Pixels around the middle of a unit's place that are shown at least, if the unit sees so far."""


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
        model = load_model(name)
        level = choose_quantization(model, quantization)
        images = ImageNetwork(model.network, model.metadata.normalisation, QUANTIZATIONS[level].dtype)
        images.eval().to(choose_device(device))
        size = model.metadata.input_size
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


def load_subjects(
    names: Sequence[str], layer: str, quantization: str, device: str, n_peaks: int
) -> list[Subject]:
    """Model files to compare; those that have one name, as best.safetensors of several runs, are told apart.

    Raises:
        ModelFileError, UnknownNameError: as :meth:`Subject.load`.
    """
    subjects = [Subject.load(name, layer, quantization, device, n_peaks) for name in names]
    if len({subject.name for subject in subjects}) < len(subjects):
        return [replace(s, name=str(s.model.path.with_suffix(''))) for s in subjects]
    return subjects


@dataclass(frozen=True)
class PortraitComparison:
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
    correlations: Float64Array

    @classmethod
    def of(cls, first: Subject, other: Subject) -> 'PortraitComparison':
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
        images: that were shown, in that order.
        field: what units of the layer see.
    """

    images: Dataset
    field: ReceptiveField

    def portrait(self, subject: Subject, unit: int) -> Portrait:
        """What moves a unit, and what it sees there."""
        watched, record = subject.watched, subject.watched.record
        field = subject.field or self.field
        peaks, places, classes = record.peaks(unit), [], Counter[str]()
        for peak in peaks:
            image, labels = self.images[peak.image]
            pixels = watched.input_of(image)
            projection = None
            if subject.field is not None:
                projection = project(watched.network, watched.layer, pixels, unit, peak.row, peak.column)
            centre = field.centre(peak.row, peak.column, watched.size)
            class_id = labels[
                tuple(c * n // m for c, n, m in zip(centre, labels.shape, watched.size, strict=True))
            ]
            if class_id != UNLABELLED:
                classes[self.images.classes.names[class_id]] += 1
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


def units_as_json(
    first: Subject, comparisons: Sequence[PortraitComparison], names: Sequence[str]
) -> dict[str, Any]:
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
