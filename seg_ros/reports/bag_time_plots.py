"""Plots over the time of the bags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from seg_ros.reports.bag_canvas import PlotCanvas, PlotScale, fit_log_scale, fit_scale, of_system, tick_text
from seg_ros.reports.bag_values import as_number, clean_text, look_up, shorten, system_name

_HEIGHT = 190
_MOST_POINTS = 600
"""Maximum number of points of a line."""
_MOST_NAMED_BAGS = 6
_MOST_AREAS = 14
"""Maximum number of classes with an area of their own."""
_LOG_FROM = 20
"""Ratio of the largest to the smallest time from which an axis is logarithmic."""
_LEAST_SPAN = 0.1
"""Minimum length of an axis of fractions that does not begin at 0."""
Points = list[tuple[float, float | None]]


@dataclass(frozen=True)
class BagTimeline:
    """Times of several bags, one after another, on one axis.

    Attributes:
        starts: Start of each bag on the axis in seconds, by name.
        firsts: Time of the first frame of each bag in seconds, by name.
        end: End of the axis in seconds.
    """

    starts: Mapping[str, float]
    firsts: Mapping[str, float]
    end: float

    @classmethod
    def of(cls, systems: Sequence[Mapping[str, Any]]) -> 'BagTimeline':
        """Lay out the bags of all series in the order in which they appear."""
        lasts: dict[str, float] = {}
        firsts: dict[str, float] = {}
        for system in systems:
            for bag, time in _places(system):
                firsts[bag] = min(time, firsts.get(bag, time))
                lasts[bag] = max(time, lasts.get(bag, time))
        starts: dict[str, float] = {}
        end = 0.0
        gap = 0.01 * sum(lasts[bag] - firsts[bag] for bag in firsts) or 1.0
        for bag in firsts:
            starts[bag] = end + (gap if starts else 0)
            end = starts[bag] + lasts[bag] - firsts[bag]
        return cls(starts, firsts, end)

    def place(self, bag: str, time: float) -> float:
        """Position of a frame on the axis in seconds."""
        return self.starts[bag] + time - self.firsts[bag]

    @property
    def scale(self) -> PlotScale:
        """Scale of the axis."""
        return PlotScale(0, self.end) if self.end > 0 else PlotScale(-0.5, 0.5)

    def ticks(self) -> list[tuple[float, str]]:
        """Ticks of the axis: seconds, or minutes for long bags."""
        unit = 60 if self.is_long else 1
        if self.end <= 0:
            return [(0, '0')]
        scale = PlotScale(self.scale.low / unit, self.scale.high / unit)
        return [(unit * value, tick_text(value)) for value in scale.ticks()]

    @property
    def is_long(self) -> bool:
        """Whether the axis is in minutes."""
        return self.end > 180

    @property
    def title(self) -> str:
        """Title of the axis."""
        unit = 'min' if self.is_long else 's'
        return (
            f'time in the bag, {unit}' if len(self.starts) <= 1 else f'time, bags one after another, {unit}'
        )

    def points(self, system: Mapping[str, Any], values: Any) -> Points:
        """Points of a series of a system, interrupted between bags."""
        if not isinstance(values, list):
            return []
        points: Points = []
        before = None
        places = _places(system)
        step = max(-(-len(places) // _MOST_POINTS), 1)
        for (bag, time), value in list(zip(places, values, strict=False))[::step]:
            x = self.place(bag, time)
            if before not in (None, bag):
                points.append((x, None))
            points.append((x, as_number(value)))
            before = bag
        return points

    def draw_borders(self, canvas: PlotCanvas) -> None:
        """Mark where bags begin."""
        for k, (bag, start) in enumerate(self.starts.items()):
            if k:
                canvas.segment((start, start), (canvas.y.low, canvas.y.high), 'border', shorten(bag, 60))
            if 1 < len(self.starts) <= _MOST_NAMED_BAGS:
                length = 60 // len(self.starts)
                canvas.text(start, canvas.y.high, shorten(bag, length), 'faint', (3, 10), shorten(bag, 60))


def over_time(
    systems: Sequence[Mapping[str, Any]],
    timeline: BagTimeline,
    key: str,
    y_title: str,
    *,
    is_fraction: bool = True,
) -> Markup | None:
    """Lines of a series of every system.

    Args:
        systems: Systems of the results.
        timeline: Axis of time.
        key: Key of the series.
        y_title: Title of the vertical axis.
        is_fraction: Whether the values are fractions, shown in percent. Other values may get a logarithmic
            axis.

    Returns:
        The plot; None if no system has a value.
    """
    series = {k: timeline.points(s, look_up(s, 'series', key)) for k, s in enumerate(systems)}
    values = _values(series)
    if not values:
        return None
    y = _fraction_scale(values) if is_fraction else fit_log_scale(values, _LOG_FROM)
    canvas = _canvas(timeline, y, y_title, 100 if is_fraction else 1)
    for k, points in series.items():
        canvas.line(points, of_system(k), system_name(systems[k]))
    return canvas.render(f'{y_title} over time')


def novelty_over_time(systems: Sequence[Mapping[str, Any]], timeline: BagTimeline) -> Markup | None:
    """Novelty of each frame with the threshold; frames out of distribution are marked.

    Several systems have several thresholds, so their novelty is divided by their threshold.
    """
    limits = {k: as_number(look_up(system, 'novelty', 'threshold')) for k, system in enumerate(systems)}
    series = {k: timeline.points(s, look_up(s, 'series', 'novelty')) for k, s in enumerate(systems)}
    series = {k: points for k, points in series.items() if _values({k: points})}
    is_relative = len(series) > 1 and all((limits[k] or 0) > 0 for k in series)
    if is_relative:
        series = {
            k: [(x, None if y is None else y / (limits[k] or 1)) for x, y in p] for k, p in series.items()
        }
        limits = dict.fromkeys(series, 1.0)
    values = _values(series)
    if not values:
        return None
    shown = sorted({limit for k in series if (limit := limits[k]) is not None})
    title = 'novelty, in thresholds' if is_relative else 'novelty'
    canvas = _canvas(timeline, fit_scale([*values, *shown]), title, 1)
    for limit in shown:
        canvas.segment((canvas.x.low, canvas.x.high), (limit, limit), 'threshold', f'threshold: {limit:.4g}')
        canvas.text(canvas.x.high, limit, 'threshold', 'name end', (0, -5))
    for k, points in series.items():
        canvas.line(points, of_system(k), system_name(systems[k]))
        _mark_unlike(canvas, points, limits[k], k, system_name(systems[k]))
    return canvas.render('Novelty over time; frames above the threshold are unlike the training images')


def _mark_unlike(canvas: PlotCanvas, points: Points, limit: float | None, k: int, name: str) -> None:
    if limit is None:
        return
    for x, y in points:
        if y is not None and y > limit:
            canvas.dot(x, y, 3, f'unlike {of_system(k)}', f'{name}: out of distribution, {y:.4g}')


def shares_over_time(
    system: Mapping[str, Any], timeline: BagTimeline, colours: Mapping[str, Sequence[int]]
) -> tuple[Markup | None, list[tuple[str, Sequence[int]]]]:
    """Stacked areas of the fraction of each class.

    Args:
        system: System of the results.
        timeline: Axis of time.
        colours: (r, g, b) by name of the class.

    Returns:
        The plot, None without data; and names and colours of its areas, from the bottom upwards.
    """
    shares = look_up(system, 'series', 'shares')
    series = (
        {name: timeline.points(system, v) for name, v in shares.items()}
        if isinstance(shares, Mapping)
        else {}
    )
    series = _largest({name: points for name, points in series.items() if any(y for _, y in points)})
    if not series:
        return None, []
    canvas = _canvas(timeline, PlotScale(0, 1), 'fraction of pixels, %', 100)
    xs = [x for x, _ in next(iter(series.values()))]
    known = [x for x, y in next(iter(series.values())) if y is not None]
    base = dict.fromkeys(xs, 0.0)
    for name, points in series.items():
        top = {x: base[x] + (y or 0.0) for x, y in points}
        path = canvas.area(_widened(known, base, canvas.x), _widened(known, top, canvas.x))
        canvas.path(path, 'area', name, _fill(colours.get(name)))
        base = top
    return canvas.render('Fraction of the pixels of each class over time'), [
        (name, colours.get(name, (128, 128, 128))) for name in series
    ]


def _widened(
    known: Sequence[float], line: Mapping[float, float], scale: PlotScale
) -> list[tuple[float, float]]:
    """Points of a line; a single one is widened to the whole axis."""
    points = [(x, line[x]) for x in known]
    return points if len(points) != 1 else [(scale.low, points[0][1]), (scale.high, points[0][1])]


def _largest(series: dict[str, Points]) -> dict[str, Points]:
    """The classes with the largest areas, in their order; the others together as 'other classes'."""
    if len(series) <= _MOST_AREAS:
        return series
    sizes = {name: sum(y or 0 for _, y in points) for name, points in series.items()}
    kept = set(sorted(sizes, key=lambda name: -sizes[name])[: _MOST_AREAS - 1])
    shown = {name: points for name, points in series.items() if name in kept}
    others = [points for name, points in series.items() if name not in kept]
    summed: Points = []
    for together in zip(*others, strict=False):
        ys = [y for _, y in together if y is not None]
        summed.append((together[0][0], sum(ys) if ys else None))
    return {**shown, 'other classes': summed}


def _fill(colour: Sequence[int] | None) -> str:
    red, green, blue = (colour or (128, 128, 128))[:3]
    return f'fill: rgb({red} {green} {blue})'


def _places(system: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Bag and time of each point of the series of a system."""
    bags, times = (look_up(system, 'series', key) for key in ('bag', 'time_s'))
    if not isinstance(times, list):
        return []
    if not isinstance(bags, list) or len(bags) != len(times):
        bags = [''] * len(times)
    return [(clean_text(str(bag)), as_number(time) or 0.0) for bag, time in zip(bags, times, strict=True)]


def _values(series: Mapping[int, Points]) -> list[float]:
    return [y for points in series.values() for _, y in points if y is not None]


def _fraction_scale(values: Sequence[float]) -> PlotScale:
    """From 0 for small fractions, else around the values, at least a tenth wide."""
    low, high = min(values), max(values)
    if low < 0 or high <= 0.5:
        return fit_scale(values, ceiling=1)
    room = max(0.05 * (high - low), (_LEAST_SPAN - (high - low)) / 2)
    top = min(high + room, 1.0)
    return PlotScale(max(min(low - room, top - _LEAST_SPAN), 0), top)


def _canvas(timeline: BagTimeline, y: PlotScale, y_title: str, factor: float) -> PlotCanvas:
    canvas = PlotCanvas(timeline.scale, y, _HEIGHT)
    scaled = PlotScale(factor * y.low, factor * y.high, y.is_log)
    ticks = [(value / factor, tick_text(value)) for value in scaled.ticks()]
    canvas.axes(timeline.title, y_title, timeline.ticks(), ticks)
    timeline.draw_borders(canvas)
    return canvas
