"""Plots that compare systems: accuracy against latency, distribution of the latency, drops."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from seg_ros.reports.bag_canvas import (
    PlotCanvas,
    PlotScale,
    fit_log_scale,
    fit_scale,
    of_system,
    tick_text,
)
from seg_ros.reports.bag_values import (
    as_number,
    count,
    estimate,
    file_size,
    look_up,
    milliseconds,
    percent,
    shorten,
    system_name,
)

_HEIGHT = 270
_LOG_FROM = 8
"""Ratio of the largest to the smallest time from which an axis is logarithmic."""
_LARGEST_RADIUS, _SMALLEST_RADIUS = 14.0, 4.0
_LETTER_HEIGHT = 15
"""Distance of two lines of text in CSS pixels."""
_LETTER_WIDTH = 6.6
"""Mean width of a letter in CSS pixels."""
_NARROW = 290
"""Width of a plot on a phone in CSS pixels."""
_PLACES = [
    ('', (18.0, 4.0)),
    ('end', (-18.0, 4.0)),
    ('middle', (0.0, -19.0)),
    ('middle', (0.0, 28.0)),
    ('', (12.0, -14.0)),
    ('end', (-12.0, -14.0)),
    ('', (12.0, 24.0)),
    ('end', (-12.0, 24.0)),
    ('', (18.0, 42.0)),
    ('end', (-18.0, 42.0)),
]
"""Places of a name beside a point: anchor, and shift to the right and down in CSS pixels."""


def pareto_plot(systems: Sequence[Mapping[str, Any]]) -> tuple[Markup | None, str]:
    """Accuracy, or agreement without true labels, against latency; the area of a disc grows with the file.

    Returns:
        The plot, None if no system has both values; and the measure on its vertical axis.
    """
    for measure, keys in (('mean IoU', ('accuracy', 'mean_iou')), ('agreement', ('agreement', 'pixels'))):
        found = []
        for k, system in enumerate(systems):
            latency = as_number(look_up(system, 'latency_ms', 'total', 'p50'))
            value, low, high = estimate(look_up(system, *keys))
            if latency is not None and value is not None:
                found.append((k, latency, value, low, high))
        if found:
            return _pareto(systems, found, measure), measure
    return None, ''


def _pareto(
    systems: Sequence[Mapping[str, Any]],
    found: Sequence[tuple[int, float, float, float | None, float | None]],
    measure: str,
) -> Markup:
    heights = [v for _, _, *values in found for v in values if v is not None]
    span = max(max(heights) - min(heights), 0.02)
    y = PlotScale(max(min(heights) - 0.2 * span, 0), min(max(heights) + 0.2 * span, 1.02))
    x = fit_log_scale([latency for _, latency, *_ in found], _LOG_FROM)
    canvas = PlotCanvas(x, y, _HEIGHT)
    y_ticks = [(v / 100, tick_text(v)) for v in PlotScale(100 * y.low, 100 * y.high).ticks()]
    canvas.axes('latency, median, ms', f'{measure}, %', [(v, tick_text(v)) for v in x.ticks()], y_ticks)
    _draw_front(canvas, sorted((latency, value) for _, latency, value, *_ in found))
    sizes = {k: as_number(systems[k].get('n_bytes')) for k, *_ in found}
    largest = max((size for size in sizes.values() if size), default=1)
    for k, latency, value, low, high in found:
        title = f'{system_name(systems[k])}: {percent(value)}, {milliseconds(latency)}, {file_size(sizes[k])}'
        if low is not None and high is not None:
            canvas.segment((latency, latency), (low, high), f'interval {of_system(k)}', title)
        radius = max(_LARGEST_RADIUS * ((sizes[k] or 0) / largest) ** 0.5, _SMALLEST_RADIUS)
        canvas.dot(latency, value, radius, of_system(k), title)
    _name_points(canvas, [(latency, value, system_name(systems[k])) for k, latency, value, *_ in found])
    return canvas.render(f'{measure} against latency of each system')


def _draw_front(canvas: PlotCanvas, points: Sequence[tuple[float, float]]) -> None:
    """Steps through the systems for which no other is both faster and better."""
    front: list[tuple[float, float]] = []
    for x, y in points:
        if not front or y > front[-1][1]:
            front += [(x, front[-1][1])] if front else []
            front.append((x, y))
    if len(front) > 1:
        canvas.line([*front, (canvas.x.high, front[-1][1])], 'front', 'Pareto front')


def _name_points(canvas: PlotCanvas, points: Sequence[tuple[float, float, str]]) -> None:
    """Write names beside points, at the first place where they cover nothing on a narrow screen."""
    places = [(_NARROW * canvas.x(x), canvas.height * (1 - canvas.y(y))) for x, y, _ in points]
    taken = [(left - 9, top - 9, left + 9, top + 9) for left, top in places]
    for (x, y, name), (left, top) in zip(points, places, strict=True):
        text = shorten(name, 24)
        length = _LETTER_WIDTH * len(text)
        choices = [
            (kind, shift, _box(left + shift[0], top + shift[1], length, kind)) for kind, shift in _PLACES
        ]
        free = [choice for choice in choices if _is_free(choice[2], taken)]
        kind, shift, box = free[0] if free else choices[0]
        taken.append(box)
        canvas.text(x, y, text, f'label {kind}', shift, name)


def _box(left: float, base: float, length: float, kind: str) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a text in CSS pixels."""
    start = left - {'end': length, 'middle': length / 2}.get(kind, 0)
    return start, base - _LETTER_HEIGHT + 3, start + length, base + 3


def _is_free(
    box: tuple[float, float, float, float], taken: Sequence[tuple[float, float, float, float]]
) -> bool:
    left, top, right, bottom = box
    if left < 0 or right > _NARROW:
        return False
    return all(right <= a or left >= c or bottom <= b or top >= d for a, b, c, d in taken)


def latency_histogram(systems: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Histogram of the latency of frames, one outline for each system."""
    measured = [(k, *_histogram(system)) for k, system in enumerate(systems)]
    measured = [(k, edges, parts) for k, edges, parts in measured if parts]
    if not measured:
        return None
    used = [edge for _, edges, parts in measured for edge in _used(edges, parts)]
    x = fit_log_scale(used, _LOG_FROM)
    if not x.is_log:
        x = PlotScale(min(used), max(used)) if max(used) > min(used) else fit_scale(used)
    y = fit_scale([part for *_, parts in measured for part in parts])
    canvas = PlotCanvas(x, y, _HEIGHT - 80)
    y_ticks = [(v / 100, tick_text(v)) for v in PlotScale(0, 100 * y.high).ticks(4)]
    canvas.axes('latency of a frame, ms', 'frames, %', [(v, tick_text(v)) for v in x.ticks()], y_ticks)
    for k, edges, parts in measured:
        corners = [(edge, part) for i, part in enumerate(parts) for edge in edges[i : i + 2]]
        ground = [(edges[0], 0.0), (edges[-1], 0.0)]
        canvas.path(canvas.area(ground, corners), f'outline {of_system(k)}', system_name(systems[k]))
    return canvas.render('Histogram of the latency of frames')


def _histogram(system: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Edges in ms, increasing, and the fraction of frames in each bin; empty if they are unusable."""
    edges, counts = (look_up(system, 'latency_histogram', key) for key in ('edges_ms', 'counts'))
    if not isinstance(edges, list) or not isinstance(counts, list) or len(edges) != len(counts) + 1:
        return [], []
    places, numbers = ([as_number(value) for value in values] for values in (edges, counts))
    total = sum(number or 0 for number in numbers)
    ends = [place for place in places if place is not None]
    if total <= 0 or len(ends) < len(places) or any(b <= a for a, b in pairwise(ends)):
        return [], []
    return ends, [(number or 0) / total for number in numbers]


def _used(edges: Sequence[float], parts: Sequence[float]) -> list[float]:
    """Edges of the bins between the first and the last frame."""
    filled = [i for i, part in enumerate(parts) if part > 0]
    return list(edges[filled[0] : filled[-1] + 2])


def drops_plot(systems: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Bars of dropped frames by cause, one for each system; None if no system ran live or none dropped."""
    drops = {k: look_up(system, 'live', 'drops') for k, system in enumerate(systems)}
    by_system = {k: d for k, d in drops.items() if isinstance(d, Mapping)}
    causes = list(dict.fromkeys(cause for d in by_system.values() for cause in d))
    most = max((as_number(n) or 0 for d in by_system.values() for n in d.values()), default=0)
    if not causes or most <= 0:
        return None
    row = max(22, 9 * len(by_system) + 8)
    x = fit_scale([0, most])
    canvas = PlotCanvas(x, PlotScale(len(causes), 0), row * len(causes), left=118, right=44)
    canvas.axes('dropped frames', '', [(v, tick_text(v)) for v in x.ticks(4)], [])
    thickness = 0.72 / len(by_system)
    for place, cause in enumerate(causes):
        canvas.text(0, place + 0.5, shorten(cause, 15), 'end', (-8, 4), cause)
        for turn, (k, numbers) in enumerate(by_system.items()):
            n = as_number(numbers.get(cause)) or 0.0
            top = place + 0.14 + turn * thickness
            title = f'{cause}, {system_name(systems[k])}: {count(n)} frames'
            canvas.bar((0, n), (top, top + 0.9 * thickness), f'fill {of_system(k)}', title)
            if len(by_system) == 1:
                canvas.text(n, place + 0.5, count(n), 'number', (6, 4))
    return canvas.render('Dropped frames by cause')
