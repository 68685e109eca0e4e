"""Plots of classes: IoU of each class, confusion matrix, reliability diagram."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from seg_ros.reports.bag_canvas import PlotCanvas, PlotScale, of_system
from seg_ros.reports.bag_values import (
    as_number,
    estimate,
    look_up,
    percent,
    percent_interval,
    percent_number,
    shorten,
    system_name,
)
from seg_ros.reports.html import plot_box

_FULL = PlotScale(0, 1)
_QUARTERS = [(value, f'{100 * value:g}') for value in (0, 0.25, 0.5, 0.75, 1)]
_LONGEST_NAME = 15
"""Number of letters of a class name that fit beside a plot."""
_TALL = 620
"""Height of a plot in CSS pixels above which it scrolls."""
MOST_CLASSES = 80
"""Maximum number of classes of a plot."""
_MOST_WITH_NUMBERS = 16
"""Largest confusion matrix with numbers in its cells."""


def class_bars(systems: Sequence[Mapping[str, Any]], part: str, names: Sequence[str]) -> Markup | None:
    """Bars of the IoU of each class, one bar for each system, with intervals.

    Args:
        systems: Systems of the results.
        part: 'accuracy' for IoU with the true labels, 'agreement' for IoU with the reference.
        names: Names of the classes.

    Returns:
        The plot; None if no system has such values, or there are too many classes.
    """
    measured = [(k, look_up(system, part, 'class_iou')) for k, system in enumerate(systems)]
    measured = [(k, values) for k, values in measured if isinstance(values, Mapping)]
    if not measured or not 0 < len(names) <= MOST_CLASSES:
        return None
    row = max(20, min(9 * len(measured) + 8, 5 * len(measured) + 16))
    canvas = PlotCanvas(_FULL, PlotScale(len(names), 0), row * len(names), left=118, right=44)
    title = 'IoU with the true labels, %' if part == 'accuracy' else 'IoU with the reference, %'
    canvas.axes(title, '', _QUARTERS, [])
    is_tall = row * len(names) > _TALL
    for value, text in _QUARTERS:
        canvas.segment((value, value), (0, len(names)), 'grid')
        if is_tall:  # the axis is out of sight
            canvas.text(value, 0, text, 'middle', (0, -8))
    for place, name in enumerate(names):
        canvas.text(0, place + 0.5, shorten(name, _LONGEST_NAME), 'end', (-8, 4), name)
        _class_row(canvas, place, name, [(k, values.get(name)) for k, values in measured], systems)
    plot = canvas.render(f'{title}: a bar for each class and system')
    return plot_box('region', 'tall', 'IoU of each class', plot) if is_tall else plot


def _class_row(
    canvas: PlotCanvas,
    place: int,
    name: str,
    values: Sequence[tuple[int, Any]],
    systems: Sequence[Mapping[str, Any]],
) -> None:
    """Bars of one class."""
    thickness = 0.72 / len(values)
    for turn, (k, data) in enumerate(values):
        value, low, high = estimate(data)
        top = place + 0.14 + turn * thickness
        middle = top + 0.45 * thickness
        if value is None:
            if len(values) == 1:
                canvas.text(0, middle, 'does not occur', 'faint', (5, 4))
            continue
        title = f'{name}, {system_name(systems[k])}: {percent(value)}'
        if low is not None and high is not None:
            title += f' ({percent_interval(low, high)})'
        canvas.bar((0, value), (top, top + 0.9 * thickness), f'fill {of_system(k)}', title)
        if low is not None and high is not None:
            canvas.segment((low, high), (middle, middle), 'whisker', title)
        if len(values) == 1:
            canvas.text(1, middle, percent_number(value), 'number', (6, 4))


def confusion_plot(system: Mapping[str, Any], names: Sequence[str]) -> Markup | None:
    """Confusion matrix of a system in percent of the true class.

    Returns:
        The plot; None if there is no matrix, its size is not that of the classes, or there are too many.
    """
    matrix = look_up(system, 'accuracy', 'confusion_matrix')
    if not isinstance(matrix, list) or len(matrix) != len(names) or not 0 < len(names) <= MOST_CLASSES:
        return None
    rows = [[as_number(value) or 0.0 for value in row] for row in matrix if isinstance(row, list)]
    columns = [*names, 'unlabelled']
    if len(rows) != len(names) or any(len(row) != len(columns) for row in rows):
        return None
    if not any(row[-1] for row in rows):
        columns.pop()
    has_numbers = len(columns) <= _MOST_WITH_NUMBERS
    pitch = 26 if has_numbers else 15
    scales = PlotScale(0, len(columns)), PlotScale(len(names), 0)
    bottom = 28 + 5 * min(max(map(len, columns)), _LONGEST_NAME)
    canvas = PlotCanvas(*scales, pitch * len(names), left=118, bottom=bottom, right=8)
    for place, name in enumerate(names):
        canvas.text(0, place + 0.5, shorten(name, _LONGEST_NAME), 'end', (-8, 4), name)
        _confusion_row(canvas, place, rows[place], [name, *columns], has_numbers)
    for place, name in enumerate(columns):
        canvas.slanted_text(place + 0.6, shorten(name, _LONGEST_NAME), name)
    canvas.text(0, 0, 'true class', 'name end', (-8, -10))
    canvas.text(0, 0, 'predicted class ↓', 'name', (2, -10))
    plot = canvas.render('Confusion matrix in percent of the pixels of each true class')
    least = 118 + (15 if has_numbers else 13) * len(columns)
    return plot_box('region', 'broad', 'Confusion matrix', plot, least)


def _confusion_row(
    canvas: PlotCanvas, place: int, row: Sequence[float], names: Sequence[str], has_numbers: bool
) -> None:
    """Cells of one true class; ``names`` starts with its name, then those of the columns."""
    total = sum(row)
    for column, name in enumerate(names[1:]):
        fraction = row[column] / total if total > 0 else 0.0
        title = f'{names[0]} → {name}: {percent(fraction)} of {total:,.0f} pixels'
        kind = 'heat right' if column == place else 'heat'
        if total <= 0:
            title, kind = f'{names[0]} does not occur', 'heat'
        style = f'fill-opacity: {max(fraction, 0) ** 0.7:.3f}' if fraction > 0 else 'fill-opacity: 0'
        canvas.bar((column, column + 1), (place, place + 1), kind, title, style)
        if has_numbers and fraction >= 0.005:
            on = ' on' if fraction > 0.45 else ''
            canvas.text(column + 0.5, place + 0.5, f'{100 * fraction:.0f}', f'cell middle{on}', (0, 4), title)


def reliability_plot(systems: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Accuracy against confidence; bars below show how often the first system has this confidence."""
    measured = [(k, look_up(system, 'accuracy', 'reliability')) for k, system in enumerate(systems)]
    measured = [(k, bins) for k, bins in measured if isinstance(bins, list) and bins]
    if not measured:
        return None
    canvas = PlotCanvas(_FULL, _FULL, 270)
    canvas.axes('confidence, %', 'accuracy, %', _QUARTERS, _QUARTERS)
    canvas.segment((0, 1), (0, 1), 'ideal', 'perfect calibration')
    first = measured[0][1]
    for place, item in enumerate(first):
        fraction = as_number(look_up(item, 'fraction'))
        if fraction:
            ends = place / len(first), (place + 1) / len(first)
            title = f'{percent(fraction)} of the pixels have this confidence'
            canvas.bar(ends, (0, min(fraction, 1)), 'amount', title)
    for k, bins in measured:
        name, points = system_name(systems[k]), []
        for item in bins:
            x, y, fraction = (as_number(look_up(item, key)) for key in ('confidence', 'accuracy', 'fraction'))
            if x is not None and y is not None and fraction:
                points.append((x, y))
                title = (
                    f'{name}: confidence {percent(x)}, accuracy {percent(y)}, {percent(fraction)} of pixels'
                )
                canvas.dot(x, y, 3.5, of_system(k), title)
        canvas.line(points, of_system(k), name)
    return canvas.render('Reliability diagram: accuracy for each confidence')
