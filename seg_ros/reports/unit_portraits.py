"""Units of a layer in several models: statistics, matches, patches and projections."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seg_ros.arrays import UNLABELLED, Float64Array, UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.details import cut_out, with_ring
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.deconvnet import ReceptiveField, layer_maps, project, reach, receptive_field
from seg_ros.evaluation.units import Peak, UnitRecord, Watched, match_units
from seg_ros.inference.backends.backend import choose_device
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.levels import choose_quantization
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS

_LEAST_REACH = 24
"""Minimum number of pixels shown on each side of a peak, if the receptive field is large enough."""
_SHOWN_ENERGY = 0.5
"""Fraction of a projection's energy that lies in the pixels drawn in the strongest colours."""


@dataclass(frozen=True)
class Portrait:
    """A unit of one model.

    Attributes:
        model: Name of the model.
        unit: Channel of the layer; None if the model no longer has the unit.
        mean: Mean of its activations.
        sparsity: Fraction of its activations that are 0 or less, 0..1.
        correlation: Correlation with the unit of the first model, -1..1; None for the first model itself.
        change: Change of the mean in standard deviations of the first model's unit; None for the first model.
        peaks: Places of the strongest responses, the strongest first.
        patches: Part of the image at each peak, (H, W, 3) uint8 RGB.
        projections: Projection of each peak, likewise; empty if the model cannot be projected.
        classes: Number of peaks on each class; empty without labels.
    """

    model: str
    unit: int | None
    mean: float = 0.0
    sparsity: float = 0.0
    correlation: float | None = None
    change: float | None = None
    peaks: Sequence[Peak] = ()
    patches: Sequence[UInt8Array] = ()
    projections: Sequence[UInt8Array] = ()
    classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def pictures(self) -> dict[str, Sequence[UInt8Array]]:
        """Patches and projections by name, without empty ones."""
        both = {'patches': self.patches, 'projections': self.projections}
        return {name: part for name, part in both.items() if part}


@dataclass(frozen=True)
class Subject:
    """A model whose layer is examined.

    Attributes:
        name: Name of the file without folder and suffix, or with them if two models share it.
        model: Content of the file.
        quantization: Level of quantization.
        watched: The layer.
        n_units: Number of units of the layer.
        receptive_field: Receptive field of the units; None if it cannot be measured.
    """

    name: str
    model: Model
    quantization: str
    watched: Watched
    n_units: int
    receptive_field: ReceptiveField | None

    @classmethod
    def load(cls, name: str, layer: str, quantization: str, device: str, n_peaks: int) -> 'Subject':
        """Read a model file and find the layer in it.

        Args:
            name: Path of a model file, or name of a shipped model.
            layer: Name of the layer.
            quantization: Level of quantization, or auto. Units of an int8 model are followed at fp32 with the
                rounded weights, because activations cannot be traced back through integers.
            device: auto, cpu or cuda:N.
            n_peaks: Number of peaks to keep for each unit.

        Raises:
            ModelFileError: The file cannot be used.
            UnknownNameError: The network has no such layer; the message lists its layers.
        """
        model = load_model(name)
        model.pytorch_network('drawing of units')
        level = choose_quantization(model, quantization)
        if QUANTIZATIONS[level].dtype == torch.int8:
            level = 'fp32'
        images = ImageNetwork(model.network, model.metadata.normalisation, QUANTIZATIONS[level].dtype)
        images.eval().to(choose_device(device))
        size = model.metadata.input_size
        watched = Watched(images, layer, size, UnitRecord(n_peaks))
        with torch.no_grad():
            n_units = len(layer_maps(images, layer, watched.input_of(np.zeros((*size, 3), np.uint8))))
        try:
            measured = receptive_field(images, layer, size)
        except UnavailableError:
            measured = None
        return cls(model.path.stem, model, level, watched, n_units, measured)

    def as_row(self) -> dict[str, str]:
        """Row of the model in the table of the page."""
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
    """Read model files to compare.

    Files with the same name, such as best.safetensors of several runs, are named by their paths.

    Args:
        names: Paths of model files, or names of shipped models.
        layer: Name of the layer.
        quantization: Level of quantization, or auto.
        device: auto, cpu or cuda:N.
        n_peaks: Number of peaks to keep for each unit.

    Raises:
        ModelFileError: A file cannot be used.
        UnknownNameError: A network has no such layer; the message lists its layers.
    """
    subjects = [Subject.load(name, layer, quantization, device, n_peaks) for name in names]
    if len({subject.name for subject in subjects}) < len(subjects):
        return [replace(s, name=str(s.model.path.with_suffix(''))) for s in subjects]
    return subjects


@dataclass(frozen=True)
class PortraitComparison:
    """Comparison of a model with the first model.

    Attributes:
        first: Model that the other one was made from.
        other: The other model.
        matched: Unit of the other model for each unit of the first; None if it was removed.
        correlations: (C,) float64, correlation of each unit with its match; 0 for removed units.
    """

    first: Subject
    other: Subject
    matched: list[int | None]
    correlations: Float64Array

    @classmethod
    def of(cls, first: Subject, other: Subject) -> 'PortraitComparison':
        """Match the units of two models that saw the same images."""
        correlation = other.watched.correlation.matrix()
        matched = match_units(correlation)
        values = [0.0 if k is None else correlation[unit, k] for unit, k in enumerate(matched)]
        return cls(first, other, matched, np.array(values))

    @property
    def removed(self) -> list[int]:
        """Units of the first model that were removed."""
        return [unit for unit, k in enumerate(self.matched) if k is None]

    @property
    def median(self) -> float:
        """Median correlation of the remaining units."""
        left = [c for c, k in zip(self.correlations, self.matched, strict=True) if k is not None]
        return float(np.median(left))

    def change(self, unit: int) -> float | None:
        """Change of a unit's mean activation in standard deviations of the first model; None if removed."""
        index, before, after = self.matched[unit], self.first.watched.record, self.other.watched.record
        if index is None:
            return None
        return float((after.mean[index] - before.mean[unit]) / max(before.std[unit], 1e-12))

    def portrait(self, gallery: 'Gallery', unit: int) -> Portrait:
        """Portrait of a unit of the first model in the other model."""
        index = self.matched[unit]
        if index is None:
            return Portrait(self.other.name, None)
        change, correlation = self.change(unit), float(self.correlations[unit])
        return replace(gallery.portrait(self.other, index), change=change, correlation=correlation)

    def as_row(self) -> dict[str, str]:
        """Row of the model in the table of the page."""
        removed = ', '.join(map(str, self.removed))
        n = f'{len(self.removed)}: ' if removed else 'none'
        return {
            **self.other.as_row(),
            'removed': f'{n}{removed}',
            'correlation (median)': f'{self.median:.3f}',
        }

    def as_text(self) -> str:
        """Summary in one line."""
        return f'{len(self.removed)} of {len(self.matched)} units removed, correlation {self.median:.3f}'


@dataclass(frozen=True)
class _Place:
    """Place of a peak.

    Attributes:
        peak: The peak.
        image: (H, W, 3) uint8 RGB of the network's input size.
        centre: Row and column of the pixel under the unit.
        projection: (H, W, 3) float; None if the model cannot be projected.
        class_name: Class of the pixel; None if it is unlabelled.
    """

    peak: Peak
    image: UInt8Array
    centre: tuple[int, int]
    projection: Tensor | None
    class_name: str | None


@dataclass(frozen=True)
class Gallery:
    """Draws the peaks of units.

    Attributes:
        images: Images that were shown, in the same order.
        receptive_field: Receptive field for models in which it cannot be measured.
    """

    images: Dataset
    receptive_field: ReceptiveField

    def portrait(self, subject: Subject, unit: int) -> Portrait:
        """Cut out the peaks of a unit and their projections."""
        record, size = subject.watched.record, subject.watched.size
        seen = subject.receptive_field or self.receptive_field
        places = [self._place(subject, unit, peak) for peak in record.peaks(unit)]
        span = _span(places, size)
        windows = [_window(seen, place.peak, place.centre, span, size) for place in places]
        return Portrait(
            subject.name,
            unit,
            float(record.mean[unit]),
            float(record.sparsity[unit]),
            peaks=[place.peak for place in places],
            patches=[_patch(place, *window) for place, window in zip(places, windows, strict=True)],
            projections=[
                cut_out(as_picture(place.projection), *window)
                for place, window in zip(places, windows, strict=True)
                if place.projection is not None
            ],
            classes=Counter(place.class_name for place in places if place.class_name is not None),
        )

    def _place(self, subject: Subject, unit: int, peak: Peak) -> _Place:
        """Find the pixel under a peak and project the peak back to the pixels."""
        watched, seen = subject.watched, subject.receptive_field or self.receptive_field
        image, labels = self.images[peak.image]
        pixels = watched.input_of(image)
        projection = None
        if subject.receptive_field is not None:
            projection = project(watched.network, watched.layer, pixels, unit, peak.row, peak.column)
        centre = seen.centre(peak.row, peak.column, watched.size)
        y, x = (c * n // m for c, n, m in zip(centre, labels.shape, watched.size, strict=True))
        class_id = labels[y, x]
        class_name = None if class_id == UNLABELLED else self.images.classes.names[class_id]
        return _Place(peak, pixels.cpu().numpy(), centre, projection, class_name)


def as_picture(projection: Tensor) -> UInt8Array:
    """Draw a projection.

    Deep layers put half the energy of a projection into a few pixels, which would hide the others. So values
    above the median of the energy all get the strongest colour.

    Args:
        projection: (H, W, 3) float.

    Returns:
        (H, W, 3) uint8 RGB: grey is 0, and 0 and 255 are the strongest values.
    """
    values = projection.double().cpu().numpy()
    strengths = np.sort(np.abs(values), axis=None)
    energy = np.cumsum(strengths**2)
    limit = strengths[np.searchsorted(energy, _SHOWN_ENERGY * energy[-1])] or 1.0
    return np.rint(127.5 + 127.5 * np.clip(values / limit, -1, 1)).astype(np.uint8)


def choose_units(record: UnitRecord, n: int) -> list[int]:
    """Units whose peaks lie farthest above their mean, in standard deviations, the farthest first."""
    n_units = len(record.mean)
    heights = np.array([np.mean([peak.value for peak in record.peaks(unit)]) for unit in range(n_units)])
    distance = (heights - record.mean) / np.maximum(record.std, 1e-12)
    return [int(unit) for unit in np.argsort(-distance, kind='stable')[:n]]


def units_as_json(
    first: Subject, comparisons: Sequence[PortraitComparison], names: Sequence[str]
) -> dict[str, Any]:
    """Measurements of all units, under the keys that reports share."""

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


def _patch(place: _Place, rows: tuple[int, int], columns: tuple[int, int]) -> UInt8Array:
    """Cut a window out of the image and put a ring around the peak."""
    window = cut_out(place.image, rows, columns)
    return with_ring(window, place.centre[0] - rows[0], place.centre[1] - columns[0])


def _span(places: Sequence[_Place], size: tuple[int, int]) -> int:
    """Number of pixels to show on each side of a peak: most of the energy of a typical projection."""
    reaches = [reach(p.projection, *p.centre) for p in places if p.projection is not None] or [max(size)]
    return max(_LEAST_REACH, int(np.median(reaches)))


def _window(
    receptive_field: ReceptiveField, peak: Peak, centre: tuple[int, int], span: int, size: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns to show, first and after the last: the part of the receptive field near the peak."""
    sides = []
    vertical, horizontal = (
        (receptive_field.top, receptive_field.bottom),
        (receptive_field.left, receptive_field.right),
    )
    for axis, (low, high) in enumerate((vertical, horizontal)):
        origin = (peak.row, peak.column)[axis] * receptive_field.stride[axis]
        start, stop = max(origin + low, centre[axis] - span), min(origin + high, centre[axis] + span + 1)
        sides.append((int(start), int(stop)) if stop - start < size[axis] else (0, size[axis]))
    return sides[0], sides[1]
