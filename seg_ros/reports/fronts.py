"""Plots of mean IoU against each cost of a model, with the Pareto front."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_ros.errors import UnavailableError
from seg_ros.evaluation.compare import Row, pareto_front
from seg_ros.reports.html import Picture, data_uri

PLOT_SUFFIXES = ('.png', '.svg', '.pdf')

_MARKERS = 'osD^vP*Xp<>h8'
_SIZE_INCHES = (5.4, 3.9)
_CSS_PIXELS_PER_POINT = 4 / 3


@dataclass(frozen=True)
class Axis:
    """A cost that mean IoU is plotted against.

    Attributes:
        title: Name of the cost with its unit.
        value: Cost of a row in that unit; None if it was not measured.
    """

    title: str
    value: Callable[[Row], float | None]


AXES: tuple[Axis, ...] = (
    Axis('latency of the network, ms', lambda row: row.latency_ms),
    Axis('file size, KB', lambda row: row.n_bytes / 1e3),
    Axis('operations, 10⁹ MACs', lambda row: None if row.cost is None else row.cost.n_macs / 1e9),
    Axis('energy (estimate), mJ', lambda row: None if row.cost is None else row.cost.energy_uj / 1e3),
)
"""Costs, a plot each."""


def check_matplotlib() -> None:
    """Check before a long measurement that the plots can be drawn.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as err:
        raise UnavailableError(
            "the plots need matplotlib: pip install 'seg_ros[train]', or leave --html and --plot out"
        ) from err


def draw_fronts(rows: Sequence[Row]) -> tuple[list[Picture], Picture]:
    """Plot mean IoU against each of AXES.

    Returns:
        The plots, and the legend of all of them, as SVG.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    check_matplotlib()
    plots, handles = [], dict[str, Any]()
    for axis in AXES:
        figure = _figure(_SIZE_INCHES)
        axes = figure.subplots()
        handles |= _draw_front(axes, axis, rows)
        plots.append(_embed(figure, f'mean IoU against {axis.title}'))
    return plots, _legend(handles)


def save_fronts(path: Path, rows: Sequence[Row]) -> None:
    """Write the plots with their legend as one picture, PNG, SVG or PDF by the name of the file.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    check_matplotlib()
    figure = _figure((2 * _SIZE_INCHES[0], 2 * _SIZE_INCHES[1]))
    handles = dict[str, Any]()
    for axes, axis in zip(figure.subplots(2, 2).flat, AXES, strict=True):
        handles |= _draw_front(axes, axis, rows)
    figure.legend(handles.values(), handles.keys(), loc='outside right center', frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def _draw_front(axes: Any, axis: Axis, rows: Sequence[Row]) -> dict[str, Any]:
    """Plot the front and each row; returns the marks of the rows by name."""
    models = list(dict.fromkeys(row.name for row in rows))
    levels = list(dict.fromkeys(row.quantization for row in rows))
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
    marks = {}
    for cost, row in known:
        (marks[f'{row.name} {row.quantization}'],) = axes.plot(
            cost,
            100 * row.mean_iou,
            color=f'C{models.index(row.name) % 10}',
            marker=_MARKERS[levels.index(row.quantization) % len(_MARKERS)],
            markersize=9,
            linestyle='',
        )
    if costs and min(costs) > 0 and max(costs) > 8 * min(costs):
        _use_logarithms(axes)
    axes.set(xlabel=axis.title, ylabel='mean IoU, %')
    axes.grid(alpha=0.3)
    return marks


def _use_logarithms(axes: Any) -> None:
    """Logarithmic costs, with few numbers that do not overlap."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale('log')
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))


def _legend(handles: dict[str, Any]) -> Picture:
    figure = _figure(_SIZE_INCHES)
    figure.legend(handles.values(), handles.keys(), frameon=False, borderpad=0)
    return _embed(figure, 'models and levels of the plots')


def _figure(size: tuple[float, float]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout='constrained')


def _embed(figure: Any, caption: str) -> Picture:
    """Put the drawn part of a figure into the page."""
    file = io.BytesIO()
    figure.savefig(file, format='svg', transparent=True, bbox_inches='tight', pad_inches=0.05)
    content = file.getvalue()
    sides = re.findall(rb' (?:width|height)="([\d.]+)pt"', content)[:2]
    width, height = (round(_CSS_PIXELS_PER_POINT * float(side)) for side in sides)
    return Picture(data_uri('image/svg+xml', content), width, height, caption)
