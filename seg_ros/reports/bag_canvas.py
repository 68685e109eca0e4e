"""A small drawing surface for plots: inline SVG that fits every screen.

Positions are percentages of the plot's area, so a plot stretches with the screen while its letters keep
their size. Lines lie in a nested SVG that is stretched; ``non-scaling-stroke`` keeps their width. Colours
come from the style sheet, so that plots follow the dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from seg_ros.reports.html import plot_box

_WIDE, _HIGH = 2000, 1000
"""Units of the stretched part."""
N_COLOURS = 8
"""Number of colours of systems in the style sheet."""


@dataclass(frozen=True)
class PlotScale:
    """Maps values to 0..1 along an axis.

    Attributes:
        low: Value at 0.
        high: Value at 1, different from ``low``; below it for an axis that points backwards.
        is_log: Whether the axis is logarithmic; ``low`` and ``high`` are positive then.
    """

    low: float
    high: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Position of a value, cut to 0..1."""
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = (math.log(max(v, 1e-12)) for v in (value, low, high))
        return min(max((value - low) / (high - low), 0), 1)

    def ticks(self, n: int = 5) -> list[float]:
        """Round values along the axis, about ``n`` of them."""
        if self.is_log:
            return _log_ticks(self.low, self.high)
        step = _round_step((self.high - self.low) / max(n, 1))
        first, last = (math.floor(self.high / step + 1e-9), math.ceil(self.low / step - 1e-9))
        return [round(k * step, 12) + 0.0 for k in range(last, first + 1)]


def fit_scale(values: Sequence[float], from_zero: bool = True, ceiling: float | None = None) -> PlotScale:
    """Scale that shows all values with some room.

    Args:
        values: Finite values; may be empty.
        from_zero: Whether the axis starts at 0 if no value is negative.
        ceiling: End of the axis that is not passed, such as 1 for fractions.
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if from_zero and low >= 0:
        low = 0.0
    if high <= low:
        low, high = (low, low + (abs(low) or 1.0)) if from_zero else (low - 0.5, low + 0.5)
    room = 0.06 * (high - low)
    high = high + room if ceiling is None else min(high + room, max(ceiling, high))
    return PlotScale(low if low == 0 else low - room, high)


def fit_log_scale(values: Sequence[float], ratio: float) -> PlotScale:
    """Logarithmic scale if the largest value is more than ``ratio`` times the smallest, else a linear one."""
    positive = [value for value in values if value > 0]
    if len(positive) < len(values) or not positive or max(positive) <= ratio * min(positive):
        return fit_scale(values)
    return PlotScale(min(positive) / 1.15, max(positive) * 1.15, is_log=True)


def tick_text(value: float) -> str:
    """Text of a tick."""
    return f'{value:.6g}'.replace('-', '−')


class PlotCanvas:
    """Collects the parts of a plot.

    Args:
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis, which points upwards.
        height: Height of the plot's area in CSS pixels.
        left: Room for the texts at the left in CSS pixels.
        bottom: Room for the texts below in CSS pixels.
        right: Room at the right in CSS pixels.
    """

    def __init__(
        self, x: PlotScale, y: PlotScale, height: int, *, left: int = 44, bottom: int = 40, right: int = 16
    ) -> None:
        self.x, self.y, self.height = x, y, height
        self._padding = 26, right, bottom, left
        self._back: list[Markup] = []
        self._stretched: list[Markup] = []
        self._front: list[Markup] = []

    def axes(
        self,
        x_title: str,
        y_title: str,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
    ) -> None:
        """Draw lines of the grid, texts of the ticks (value, text), and titles of the axes."""
        for value, text in y_ticks:
            y = self._y(value)
            self._back.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y))
            self._back.append(Markup('<text x="-7" y="{}" dy=".35em" class="end">{}</text>').format(y, text))
        for value, text in x_ticks:
            mark = Markup('<line class="tick" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>')
            self._back.append(mark.format(self._x(value), self.height, self.height + 4))
            label = Markup('<text x="{}" y="{}" class="middle">{}</text>')
            self._back.append(label.format(self._x(value), self.height + 17, text))
        self._back.append(Markup('<line class="axis" x1="0" x2="100%" y1="100%" y2="100%"/>'))
        self._back.append(
            Markup('<text class="name" x="{}" y="-12">{}</text>').format(-self._padding[3] + 2, y_title)
        )
        title = Markup('<text class="name end" x="100%" y="{}">{}</text>')
        self._back.append(title.format(self.height + 34, x_title))

    def line(self, points: Sequence[tuple[float, float | None]], kind: str, title: str = '') -> None:
        """Draw a line through points (x, y); None interrupts it, and a single point becomes a dot."""
        parts: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if y is None:
                parts.append([])
            else:
                parts[-1].append((x, y))
        for x, y in (part[0] for part in parts if len(part) == 1):
            self.dot(x, y, 2.5, kind, title)
        path = ''.join(self._path(part) for part in parts if len(part) > 1)
        if path:
            self.path(path, f'line {kind}', title)

    def area(self, lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]]) -> str:
        """Path around the area between two lines of points (x, y)."""
        return self._path([*lower, *reversed(upper)]) + 'Z'

    def path(self, path: str, kind: str, title: str = '', style: str = '') -> None:
        """Draw a path in the stretched units, such as from :meth:`area`."""
        element = Markup('<path class="{}"{} d="{}">{}</path>')
        self._stretched.append(element.format(kind, _style(style), path, _tooltip(title)))

    def dot(self, x: float, y: float, radius: float, kind: str, title: str = '') -> None:
        """Draw a disc at (x, y) with a radius in CSS pixels."""
        element = Markup('<circle class="dot {}" cx="{}" cy="{}" r="{}">{}</circle>')
        self._front.append(element.format(kind, self._x(x), self._y(y), f'{radius:.1f}', _tooltip(title)))

    def bar(
        self, x: tuple[float, float], y: tuple[float, float], kind: str, title: str = '', style: str = ''
    ) -> None:
        """Draw a rectangle between two values on each axis."""
        left, right = sorted(map(self.x, x))
        top, bottom = sorted(1 - self.y(value) for value in y)
        element = Markup('<rect class="{}"{} x="{}" y="{}" width="{}" height="{}">{}</rect>')
        size = _percent(right - left), _percent(bottom - top)
        self._front.append(
            element.format(kind, _style(style), _percent(left), _percent(top), *size, _tooltip(title))
        )

    def segment(self, x: tuple[float, float], y: tuple[float, float], kind: str, title: str = '') -> None:
        """Draw a straight line between two points."""
        element = Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}">{}</line>')
        ends = *map(self._x, x), *map(self._y, y)
        self._front.append(element.format(kind, *ends, _tooltip(title)))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = '',
        shift: tuple[float, float] = (0, 0),
        title: str = '',
    ) -> None:
        """Write at (x, y), moved by some CSS pixels to the right and down."""
        element = Markup('<text class="{}" x="{}" y="{}" dx="{:.1f}" dy="{:.1f}">{}{}</text>')
        place = self._x(x), self._y(y)
        self._front.append(element.format(kind, *place, *shift, text, _tooltip(title)))

    def slanted_text(self, x: float, text: str, title: str) -> None:
        """Write upwards to a point of the horizontal axis."""
        element = Markup(
            '<svg x="{}" y="{}" width="1" height="1">'
            '<text class="end" transform="rotate(-55)">{}{}</text></svg>'
        )
        self._front.append(element.format(self._x(x), self.height + 14, text, _tooltip(title)))

    def render(self, label: str) -> Markup:
        """The plot as HTML.

        Args:
            label: Description for people who cannot see the plot.
        """
        head = Markup('<svg role="img" aria-label="{}" width="100%" height="{}">').format(label, self.height)
        stretched = Markup(
            '<svg width="100%" height="100%" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        ).format(_WIDE, _HIGH)
        empty = Markup()
        inside = stretched + empty.join(self._stretched) + Markup('</svg>') if self._stretched else empty
        drawing = head + empty.join(self._back) + inside + empty.join(self._front) + Markup('</svg>')
        return plot_box('chart', self._padding, drawing)

    def _x(self, value: float) -> str:
        return _percent(self.x(value))

    def _y(self, value: float) -> str:
        return _percent(1 - self.y(value))

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        ends = [f'{round(_WIDE * self.x(x))} {round(_HIGH * (1 - self.y(y)))}' for x, y in points]
        return 'M' + 'L'.join(ends)


def of_system(index: int) -> str:
    """Classes of the style sheet for the system at a position."""
    return f's{index % N_COLOURS} of{index}' + (' dashed' if index >= N_COLOURS else '')


def _percent(fraction: float) -> str:
    return f'{100 * fraction:.2f}%'


def _style(style: str) -> Markup:
    return Markup(' style="{}"').format(style) if style else Markup()


def _tooltip(title: str) -> Markup:
    return Markup('<title>{}</title>').format(escape(title)) if title else Markup()


def _round_step(step: float) -> float:
    """The next round number above a step: 1, 2, 2.5 or 5 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= step * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8)):
        ticks = [k * 10.0**power for power in powers for k in factors if low <= k * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return ticks
