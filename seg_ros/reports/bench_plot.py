"""Plot of the figures of ``seg_ros bench``: bars of the networks, lines over size, threads and cameras."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seg_ros.errors import ParameterError
from seg_ros.evaluation.performance.rows import NetworkRow, PerformanceReport, ScalingRow
from seg_ros.reports.fronts import PLOT_SUFFIXES, check_matplotlib

_SIZE_INCHES = (11.0, 7.5)
_PIXELS_PER_INCH = 110


def check_plot(path: Path) -> None:
    """Check before the measurement that the plot can be drawn.

    Raises:
        ParameterError: The suffix of the file is unknown.
        UnavailableError: Matplotlib is not installed.
    """
    if path.suffix not in PLOT_SUFFIXES:
        known = ', '.join(PLOT_SUFFIXES)
        raise ParameterError(f'--plot {path}: unknown kind of picture; expected one of {known}')
    check_matplotlib()


def plot_report(path: Path, report: PerformanceReport) -> None:
    """Draw the figures of a report.

    Args:
        path: Path of the picture, PNG, SVG or PDF by its suffix; missing folders are made.
        report: Figures to draw.

    Raises:
        ParameterError: The suffix of the file is unknown.
        UnavailableError: Matplotlib is not installed.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout='constrained')
    grid = figure.add_gridspec(2, 3)
    _draw_networks(figure.add_subplot(grid[0, :]), report.networks)
    pixels = [height * width / 1e3 for height, width in (r.laps.facts['input_size'] for r in report.sizes)]
    _draw_lines(figure.add_subplot(grid[1, 0]), 'input size, 10³ pixels', pixels, report.sizes)
    for column, title, rows in ((1, 'CPU threads', report.threads), (2, 'cameras', report.cameras)):
        axes = figure.add_subplot(grid[1, column])
        _draw_lines(axes, title, [row.value for row in rows], rows)
    machine = report.conditions['machine']
    figure.suptitle(f'{machine["processor"]}, {machine["cores"]} cores, {machine["device"]}', fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_PIXELS_PER_INCH)


def _draw_networks(axes: Any, rows: Sequence[NetworkRow]) -> None:
    """Bars of the median time; a line ends at the shortest time."""
    names = list(dict.fromkeys(row.name for row in rows))
    threads = list(dict.fromkeys(row.n_threads for row in rows))
    height = 0.8 / max(len(threads), 1)
    for number, n_threads in enumerate(threads):
        own = [row for row in rows if row.n_threads == n_threads]
        places = [names.index(row.name) + number * height for row in own]
        medians = [row.laps.total.typical_ms for row in own]
        below = [row.laps.total.typical_ms - row.laps.total.lowest_ms for row in own]
        bars = axes.barh(
            places,
            medians,
            height,
            xerr=[below, [0.0] * len(own)],
            label=f'{n_threads} thread{"s" if n_threads > 1 else ""}',
        )
        axes.bar_label(bars, [f' {median:.1f}' for median in medians], fontsize=8)
    axes.set_yticks([number + height * (len(threads) - 1) / 2 for number in range(len(names))], names)
    axes.invert_yaxis()
    axes.set(xlabel='image of 640x480 to labels, ms (median; the line ends at the shortest time)')
    axes.margins(x=0.08)
    axes.grid(axis='x', alpha=0.3)
    axes.legend()


def _draw_lines(axes: Any, title: str, values: Sequence[float], rows: Sequence[ScalingRow]) -> None:
    """Median and shortest time over a value."""
    axes.plot(values, [row.laps.total.typical_ms for row in rows], marker='o', label='median')
    axes.plot(values, [row.laps.total.lowest_ms for row in rows], marker='.', ls='--', label='shortest')
    axes.set(xlabel=title, ylabel='ms')
    axes.set_xlim(0, 1.1 * max(values, default=1.0))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(0, 1.1 * max((row.laps.total.typical_ms for row in rows), default=1.0))
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
