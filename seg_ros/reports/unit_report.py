"""Report on the units of a layer: page, a sheet for each unit, and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seg_ros.datasets.wrappers import EvenSample
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.deconvnet import ReceptiveField
from seg_ros.evaluation.units import watch
from seg_ros.reports import units_page
from seg_ros.reports.unit_portraits import (
    Gallery,
    Portrait,
    PortraitComparison,
    Subject,
    choose_units,
    units_as_json,
)


@dataclass(frozen=True)
class UnitReport:
    """Result of the report.

    Attributes:
        facts: Facts about layer, images and models, name to value.
        figures: Figures for JSON.
    """

    facts: dict[str, str]
    figures: dict[str, Any]


def projectable_field(subject: Subject) -> ReceptiveField:
    """Receptive field of a layer whose units can be projected to pixels.

    Raises:
        UnavailableError: The network computes in whole numbers, so its units cannot be projected.
    """
    if subject.receptive_field is None:
        raise UnavailableError(
            f'{subject.model.path} computes in whole numbers, so its units cannot be projected to pixels; '
            'name its float parent first, and this model after --compare'
        )
    return subject.receptive_field


def report_units(
    folder: Path,
    subjects: Sequence[Subject],
    layer: str,
    images: EvenSample,
    data: str,
    *,
    units: Sequence[int] | None = None,
    n_units: int = 8,
) -> UnitReport:
    """Measure the units of a layer, and write ``index.html`` and ``unit_NNNN.png`` files.

    Args:
        folder: Folder of the files; it is made if it does not exist.
        subjects: Models with the layer; the others are compared with the first.
        layer: Name of the layer.
        images: Images to measure on.
        data: Name of the data set and its split, for the facts.
        units: Units of the first model to show; None = the ``n_units`` most distinct ones.
        n_units: Number of units to show.

    Raises:
        UnavailableError: The first model computes in whole numbers, so its units cannot be projected.
    """
    first, *others = subjects
    field = projectable_field(first)
    watch([subject.watched for subject in subjects], (image for image, _ in images.with_progress('looking')))
    comparisons = [PortraitComparison.of(first, other) for other in others]
    folder.mkdir(parents=True, exist_ok=True)
    portraits = _draw(
        folder, images, first, comparisons, units or choose_units(first.watched.record, n_units), field
    )
    page = folder / 'index.html'
    facts = _facts(layer, first, field) | {'images': f'{len(images)} of {images.n_available}, {data}'}
    rows = [first.as_row(), *(comparison.as_row() for comparison in comparisons)]
    units_page.write_page(page, f'{first.name}: responses of {layer}', facts, rows, portraits)
    of_others = {comparison.other.name: comparison.as_text() for comparison in comparisons}
    return UnitReport(
        {**facts, **of_others, 'page': str(page)}, units_as_json(first, comparisons, images.names)
    )


def _draw(
    folder: Path,
    images: EvenSample,
    first: Subject,
    comparisons: Sequence[PortraitComparison],
    units: Sequence[int],
    field: ReceptiveField,
) -> dict[int, list[Portrait]]:
    """Draw each unit in all models, and write its sheet."""
    gallery, portraits = Gallery(images, field), dict[int, list[Portrait]]()
    for unit in tqdm(dict.fromkeys(units), desc='projecting', unit='unit', disable=None):
        of_others = (comparison.portrait(gallery, unit) for comparison in comparisons)
        portraits[unit] = [gallery.portrait(first, unit), *of_others]
        units_page.write_sheet(folder / f'unit_{unit:04}.png', portraits[unit])
    return portraits


def _facts(layer: str, first: Subject, field: ReceptiveField) -> dict[str, str]:
    height, width = first.watched.size
    seen = f'{field.height:.0f} x {field.width:.0f} pixels'
    if not np.isfinite(field.height + field.width):
        seen = 'up to the border of the image'
    return {
        'model': f'{first.model.path.name}, {first.model.metadata.architecture}',
        'layer': f'{layer}, {first.n_units} units, one for each {field.stride[0]} x {field.stride[1]} pixels',
        'a unit sees': f'{seen}, of {height} x {width}',
    }
