"""Page of a comparison: tables, plots, the images with the largest loss, the sensitivity of layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.difference import BOTH_WRONG, LOST, WON, draw_difference
from seg_ros.drawing.overlay import Overlay, colourise
from seg_ros.evaluation.compare import Comparison, Loss, Row
from seg_ros.evaluation.sensitivity import Effect, Sensitivity
from seg_ros.images.resize import resize_image
from seg_ros.metrics.labels import iou
from seg_ros.reports.compare_tables import COLUMNS, NAMES, Column, names_of, said_of_learnt
from seg_ros.reports.fronts import draw_fronts
from seg_ros.reports.html import Cell, Picture, Swatch, Table, embed, legend, write_html

_OPACITY = 0.75
_LARGEST_WIDTH = 640
"""Maximum width of a picture in pixels."""
_FULL_RED = 0.1
"""Loss of mean IoU that gets the strongest red, 0..1."""
_DIFFERENCES = [
    Swatch(LOST, 'only the first model is right'),
    Swatch(WON, 'only the other model is right'),
    Swatch(BOTH_WRONG, 'both are wrong in different ways'),
]


@dataclass(frozen=True)
class LostImage:
    """An image on which a model is worse than the first model.

    Attributes:
        name: Name of the image.
        change: Change of its mean IoU in points, as text.
        pictures: Image, true labels, labels of the first model, labels of the model, differences.
    """

    name: str
    change: str
    pictures: list[Picture]


@dataclass(frozen=True)
class ModelLosses:
    """Images on which a model is worse than the first model.

    Attributes:
        name: Name and level of the model.
        images: Images, the worst first.
    """

    name: str
    images: list[LostImage]


@dataclass(frozen=True)
class SensitivitySection:
    """Sensitivity of each layer as the page shows it.

    Attributes:
        model: Name of the model.
        n_images: Number of images that it was measured on.
        mean_iou: Mean IoU of the unchanged network in %, as text.
        loss: Loss of the unchanged network, as text.
        tables: Table by title, one row per layer.
    """

    model: str
    n_images: int
    mean_iou: str
    loss: str
    tables: dict[str, Table]


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    comparison: Comparison,
    sensitivity: Sensitivity | None = None,
) -> None:
    """Write the page as one HTML file that needs no other file.

    Args:
        path: Path of the file.
        title: Title of the page.
        facts: Data and computer, name to value.
        comparison: Measurements of the models.
        sensitivity: Sensitivity of the layers of the first model; None leaves this section out.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    plots, plot_legend = draw_fronts(comparison.rows)
    name = comparison.rows[0].name
    write_html(
        path,
        'compare.html.j2',
        title,
        facts,
        measurements=_measurements(comparison.rows),
        learnt=said_of_learnt(comparison),
        failed=comparison.failed,
        plots=plots,
        plot_legend=plot_legend,
        class_iou=_class_iou(comparison.rows),
        losses=_losses(comparison),
        difference_legend=_DIFFERENCES,
        legend=legend(comparison.dataset.classes),
        sensitivity=None if sensitivity is None else _sensitivity(sensitivity, name),
    )


def _measurements(rows: Sequence[Row]) -> Table:
    lines = [
        [
            *map(Cell, names_of(row)),
            *(_measurement(column, row, rows[0]) for column in COLUMNS),
        ]
        for row in rows
    ]
    return Table([*NAMES, *(column.title for column in COLUMNS)], lines, len(NAMES))


def _measurement(column: Column, row: Row, first: Row) -> Cell:
    return Cell(
        column.text(row),
        column.difference(row, first),
        column.is_worse(row, first),
        is_plain=column.is_accuracy and _is_no_measure(row, first),
    )


def _is_no_measure(row: Row, first: Row) -> bool:
    """Whether a difference in accuracy says nothing, since a model has learnt the images."""
    return bool(row.learnt or first.learnt)


def _class_iou(rows: Sequence[Row]) -> Table:
    lines = [[*map(Cell, names_of(row)), *_iou_cells(row, rows[0])] for row in rows]
    return Table([*NAMES, *rows[0].accuracy.classes.names], lines, len(NAMES))


def _iou_cells(row: Row, first: Row) -> list[Cell]:
    """IoU of each class in %, with the difference from the first row."""
    values, before = (100 * iou(r.accuracy.matrix) for r in (row, first))
    cells = []
    for value, old in zip(values, before, strict=True):
        change = '' if row is first or np.isnan(value) else f'{value - old:+.1f}'
        text = '-' if np.isnan(value) else f'{value:.1f}'
        cells.append(Cell(text, change, bool(value < old), is_plain=_is_no_measure(row, first)))
    return cells


def _losses(comparison: Comparison) -> list[ModelLosses]:
    """Images of each model that is worse on some image."""
    first, *others = comparison.rows
    return [
        ModelLosses(
            _name(row),
            [_lost_image(comparison.dataset, loss, _name(first), _name(row)) for loss in row.worst],
        )
        for row in others
        if row.worst
    ]


def _lost_image(dataset: Dataset, loss: Loss, first_name: str, name: str) -> LostImage:
    image, truth = dataset[loss.index]
    overlay = Overlay(dataset.classes)
    pictures = {
        'image': image,
        'true labels': colourise(truth, dataset.classes),
        first_name: overlay(image, loss.first, opacity=_OPACITY, legend=False),
        name: overlay(image, loss.labels, opacity=_OPACITY, legend=False),
    }
    shown = [embed(_reduce(picture), caption) for caption, picture in pictures.items()]
    shown.append(embed(_reduce(draw_difference(image, truth, loss.first, loss.labels)), 'differences'))
    return LostImage(dataset.names[loss.index], f'{-100 * loss.lost:+.1f}', shown)


def _name(row: Row) -> str:
    return f'{row.name} {row.quantization}'


def _reduce(picture: UInt8Array) -> UInt8Array:
    """Reduce a picture, (H, W, 3) uint8, that is wider than the page needs."""
    height, width = picture.shape[:2]
    if width <= _LARGEST_WIDTH:
        return picture
    return resize_image(picture, max(round(height * _LARGEST_WIDTH / width), 1), _LARGEST_WIDTH)


def _sensitivity(sensitivity: Sensitivity, model: str) -> SensitivitySection:
    """Two tables, one for bits and one for channels, each left out if it has no rows."""
    bits = [e for e in sensitivity.effects if e.n_bits is not None]
    channels = [e for e in sensitivity.effects if e.removed is not None]
    tables = {
        'Weights rounded': _heat_table(bits, lambda e: f'{e.n_bits} bits'),
        'Channels of smallest magnitude removed': _heat_table(channels, lambda e: f'{e.removed:.0%}'),
    }
    return SensitivitySection(
        model,
        sensitivity.n_images,
        f'{100 * sensitivity.mean_iou:.2f}',
        f'{sensitivity.loss:.3f}',
        {title: table for title, table in tables.items() if table.rows},
    )


def _heat_table(effects: Sequence[Effect], column_of: Callable[[Effect], str]) -> Table:
    columns = list(dict.fromkeys(map(column_of, effects)))
    by_layer: dict[str, list[Effect]] = {}
    for effect in effects:
        by_layer.setdefault(effect.layer, []).append(effect)
    rows = [[Cell(layer), *map(_heat_cell, found)] for layer, found in by_layer.items()]
    return Table(['layer', *columns], rows, 1)


def _heat_cell(effect: Effect) -> Cell:
    strength = float(np.clip(-effect.mean_iou / _FULL_RED, 0, 1))
    return Cell(f'{100 * effect.mean_iou:+.2f}', f'{effect.loss:+.3f}', effect.loss > 0, strength)
