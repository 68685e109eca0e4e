"""A page on which models are compared: tables, plots, the images that lose most, what layers bear."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.overlay import Overlay, colourise, contact_sheet
from seg_ros.errors import UnavailableError
from seg_ros.evaluation.compare import Comparison, Loss, Row, pareto_front
from seg_ros.evaluation.sensitivity import Effect, Sensitivity
from seg_ros.metrics.labels import iou
from seg_ros.reports.compare_tables import COLUMNS, NAMES, names_of
from seg_ros.reports.html import data_uri, legend, picture_uri, text, write_html

_SHEET_WIDTH = 1500
LOST, WON, BOTH_WRONG = (230, 40, 40), (40, 190, 70), (240, 190, 40)
"""Colours of a difference: only the first is right, only the other, neither."""
_FULL_RED = 0.1
"""Loss of mean IoU that is drawn in the strongest red."""
_MARKERS = 'osD^vP*Xp<>h8'
_STYLE = """
body { max-width: 1500px } h2 { margin-top: 2em } h3 { font-size: 1em }
table { background: #fff } table.about { background: none }
th, td { padding: 3px 8px; border-bottom: 1px solid #e4e2dd }
.about th, .about td { border: 0; padding-left: 0 }
.figures td:nth-child(n+4), .figures th:nth-child(n+4), .heat td, .heat th { text-align: right }
.heat th:first-child { text-align: left; font-weight: normal }
.wide { overflow-x: auto }
small { display: block; color: #3a7d44 } small.worse { color: #a33 }
.failed { color: #a33 } p.note { color: #555; max-width: 90ch }
"""


@dataclass(frozen=True)
class Axis:
    """A cost that mean IoU is drawn against.

    Attributes:
        title: with the unit.
        value: of a row, in that unit; None where it was not measured.
    """

    title: str
    value: Callable[[Row], float | None]


AXES: tuple[Axis, ...] = (
    Axis('latency of the network, ms', lambda row: row.latency_ms),
    Axis('file, KB', lambda row: row.n_bytes / 1e3),
    Axis('operations, 10⁹ MACs', lambda row: row.cost.n_macs / 1e9),
    Axis('energy (estimate), mJ', lambda row: row.cost.energy_uj / 1e3),
)
"""What is drawn."""


def check_matplotlib() -> None:
    """Tell that there can be no page, before hours are spent on it.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as err:
        raise UnavailableError(
            "the page's plots are drawn with matplotlib: pip install 'seg_ros[train]', or leave --html out"
        ) from err


def write_page(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    comparison: Comparison,
    sensitivity: Sensitivity | None = None,
) -> None:
    """One HTML file that needs no other.

    Args:
        path: of the file.
        title: of the page.
        facts: about data and computer, a row each.
        comparison: what was measured.
        sensitivity: of the first model's layers; None leaves that part out.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    plots = draw_fronts(comparison.rows)
    failed = ''.join(
        f'<p class="failed">{text(f.path)} at {text(f.quantization)}: {text(f.reason)}</p>'
        for f in comparison.failed
    )
    parts = {
        'Figures': f'<p class="note">Small: the difference from the first model.</p>'
        f'<div class="wide">{_figures(comparison.rows)}</div>{failed}',
        'Accuracy against cost': f'<p class="note">Grey: the Pareto front, the models of which no other is '
        f'better in both.</p><img src="{plots}" alt="mean IoU against latency, bytes, MACs and energy">',
        'IoU of each class, %': f'<div class="wide">{_class_iou(comparison.rows)}</div>',
        'Where most is lost': _losses(comparison),
        'What layers bear': '' if sensitivity is None else _heat(sensitivity, comparison.rows[0].name),
    }
    write_html(path, title, facts, parts, _STYLE)


def draw_fronts(rows: Sequence[Row]) -> str:
    """Mean IoU against each of AXES with the Pareto front, as the data URI of an SVG.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout='constrained')
    models = list(dict.fromkeys(row.name for row in rows))
    levels = list(dict.fromkeys(row.quantization for row in rows))
    for axes, axis in zip(figure.subplots(2, 2).flat, AXES, strict=True):
        known = [(cost, row) for row in rows if (cost := axis.value(row)) is not None]
        costs, gains = [cost for cost, _ in known], [100 * row.mean_iou for _, row in known]
        front = pareto_front(costs, gains)
        axes.plot(
            [costs[k] for k in front],
            [gains[k] for k in front],
            drawstyle='steps-post',
            color='0.7',
            linewidth=5,
            solid_capstyle='round',
            zorder=1,
        )
        for cost, row in known:
            axes.plot(
                cost,
                100 * row.mean_iou,
                color=f'C{models.index(row.name) % 10}',
                marker=_MARKERS[levels.index(row.quantization) % len(_MARKERS)],
                markersize=9,
                linestyle='',
                label=f'{row.name} {row.quantization}',
            )
        if costs and min(costs) > 0 and max(costs) > 8 * min(costs):
            axes.set_xscale('log')
        axes.set(xlabel=axis.title, ylabel='mean IoU, %')
        axes.grid(alpha=0.3)
    handles = {label: h for h, label in zip(*figure.axes[1].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc='outside right upper')
    file = io.BytesIO()
    figure.savefig(file, format='svg')
    return data_uri('image/svg+xml', file.getvalue())


def difference(image: UInt8Array, truth: UInt8Array, first: UInt8Array, other: UInt8Array) -> UInt8Array:
    """Where two models differ, over a dark and grey image.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8.
        first: labels of the first model.
        other: labels of the other.

    Returns:
        (H, W, 3) uint8 RGB; red where only the first is right, green where only the other is, yellow where
        they are wrong in different ways.
    """
    picture = np.repeat((image.mean(axis=2, keepdims=True) * 0.45).astype(np.uint8), 3, axis=2)
    differs = (first != other) & (truth != UNLABELLED)
    picture[differs] = BOTH_WRONG
    picture[differs & (first == truth)] = LOST
    picture[differs & (other == truth)] = WON
    return picture


def loss_row(dataset: Dataset, loss: Loss) -> list[UInt8Array]:
    """Image, truth, first model, other model, difference: (H, W, 3) uint8 RGB each."""
    image, truth = dataset[loss.index]
    overlay = Overlay(dataset.classes)
    return [
        image,
        colourise(truth, dataset.classes),
        overlay(image, loss.first, opacity=0.75, legend=False),
        overlay(image, loss.labels, opacity=0.75, legend=False),
        difference(image, truth, loss.first, loss.labels),
    ]


def _figures(rows: Sequence[Row]) -> str:
    head = ''.join(f'<th>{text(title)}</th>' for title in (*NAMES, *(c.title for c in COLUMNS)))
    lines = []
    for row in rows:
        cells = [text(name) for name in names_of(row)]
        for column in COLUMNS:
            change = column.difference(row, rows[0])
            mark = ' class="worse"' if column.is_worse(row, rows[0]) else ''
            cells.append(column.text(row) + (f'<small{mark}>{change}</small>' if change else ''))
        lines.append('<tr>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>')
    return f'<table class="figures"><tr>{head}</tr>{"".join(lines)}</table>'


def _class_iou(rows: Sequence[Row]) -> str:
    names = rows[0].accuracy.classes.names
    head = ''.join(f'<th>{text(title)}</th>' for title in (*NAMES, *names))
    before, lines = 100 * iou(rows[0].accuracy.matrix), []
    for row in rows:
        cells = [text(name) for name in names_of(row)]
        for value, old in zip(100 * iou(row.accuracy.matrix), before, strict=True):
            mark = ' class="worse"' if value < old else ''
            change = '' if row is rows[0] or np.isnan(value) else f'<small{mark}>{value - old:+.1f}</small>'
            cells.append('-' if np.isnan(value) else f'{value:.1f}{change}')
        lines.append('<tr>' + ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>')
    return f'<table class="figures"><tr>{head}</tr>{"".join(lines)}</table>'


def _losses(comparison: Comparison) -> str:
    """A contact sheet for each model that loses on some image."""
    first, *others = comparison.rows
    sheets = []
    for row in others:
        if not row.worst:
            continue
        titles = [
            'image',
            'truth',
            f'{first.name} {first.quantization}',
            f'{row.name} {row.quantization}',
            '',
        ]
        pictures = [loss_row(comparison.dataset, loss) for loss in row.worst]
        sheet = contact_sheet(pictures, titles, _SHEET_WIDTH)
        lost = ', '.join(
            f'{comparison.dataset.names[loss.index]} {-100 * loss.lost:.1f}' for loss in row.worst
        )
        sheets.append(
            f'<h3>{text(row.name)} {text(row.quantization)}</h3><p>Points of mean IoU: {text(lost)}</p>'
            f'<img src="{picture_uri(sheet)}" alt="images that lose most">'
        )
    if not sheets:
        return ''
    return (
        '<p class="note">The images whose own mean IoU falls most below that of the first model. Last '
        'column: red where only the first model is right, green where only the other one is, yellow where '
        f'both are wrong in different ways.</p><p>{legend(comparison.dataset.classes)}</p>{"".join(sheets)}'
    )


def _heat(sensitivity: Sensitivity, name: str) -> str:
    """Two tables, one for bits and one for channels: a line a layer, red for what is lost."""
    bits = [e for e in sensitivity.effects if e.n_bits is not None]
    channels = [e for e in sensitivity.effects if e.removed is not None]
    return (
        f'<p class="note">{text(name)}, each layer alone changed and nothing trained afterwards, on '
        f'{sensitivity.n_images} images: points of mean IoU from {100 * sensitivity.mean_iou:.2f}, and below '
        f'them the change of the loss from {sensitivity.loss:.3f}. Channels that hang together with those of '
        'a layer go with them.</p>'
        + _heat_table('Weights rounded', bits, lambda e: f'{e.n_bits} bits')
        + _heat_table('Channels of least magnitude removed', channels, lambda e: f'{e.removed:.0%}')
    )


def _heat_table(title: str, effects: Sequence[Effect], column_of: Callable[[Effect], str]) -> str:
    if not effects:
        return ''
    columns = list(dict.fromkeys(map(column_of, effects)))
    by_layer: dict[str, list[Effect]] = {}
    for effect in effects:
        by_layer.setdefault(effect.layer, []).append(effect)
    head = ''.join(f'<th>{text(column)}</th>' for column in columns)
    lines = ''.join(
        f'<tr><th>{text(layer)}</th>{"".join(map(_heat_cell, row))}</tr>' for layer, row in by_layer.items()
    )
    return f'<h3>{title}</h3><table class="heat"><tr><th>layer</th>{head}</tr>{lines}</table>'


def _heat_cell(effect: Effect) -> str:
    strength = float(np.clip(-effect.mean_iou / _FULL_RED, 0, 1))
    pale = round(255 - 150 * strength)
    loss = f'<small class="worse">{effect.loss:+.3f}</small>' if effect.loss > 0 else ''
    loss = loss or f'<small>{effect.loss:+.3f}</small>'
    return f'<td style="background: rgb(255, {pale}, {pale})">{100 * effect.mean_iou:+.2f}{loss}</td>'
