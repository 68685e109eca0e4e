"""Tables of a report on bags."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_ros.reports.bag_values import (
    MISSING,
    as_number,
    count,
    difference_interval,
    difference_text,
    estimate,
    file_size,
    look_up,
    metric_name,
    milliseconds,
    percent,
    percent_interval,
    plain_number,
    system_name,
)

MOST_ROWS = 200
"""Maximum number of rows of a table; the page says how many more the results have."""


@dataclass(frozen=True)
class BagCell:
    """A cell of a table.

    Attributes:
        text: Main text.
        detail: Small text below.
        mark: 'best', 'better', 'worse', 'muted', or '' = none.
        system: Position of the system whose colour is shown; None = no colour.
    """

    text: str
    detail: str = ''
    mark: str = ''
    system: int | None = None


@dataclass(frozen=True)
class BagTable:
    """A table whose first column names the rows.

    Attributes:
        head: Title of each column.
        rows: Cells of each row.
        n_text_columns: Number of columns at the left that hold text; the others hold numbers.
        n_left_out: Number of rows that the table does not show.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[BagCell]]
    n_text_columns: int = 1
    n_left_out: int = 0


@dataclass(frozen=True)
class MeasureColumn:
    """A measure of systems as a column of the table.

    Attributes:
        title: Title of the column.
        keys: Keys of the value in a system.
        text: Text of a value.
        is_more_better: Whether a large value is good.
    """

    title: str
    keys: Sequence[str]
    text: Callable[[float | None], str]
    is_more_better: bool = False

    def value(self, system: Mapping[str, Any]) -> float | None:
        """Value of a system, that of an estimate or a plain number."""
        found = look_up(system, *self.keys)
        return estimate(found)[0] if isinstance(found, Mapping) else as_number(found)

    def cell(self, system: Mapping[str, Any], best: float | None) -> BagCell:
        """Cell of a system; ``best`` is the value to mark."""
        if self.keys[0] == 'agreement' and system.get('is_reference'):
            return BagCell('reference', '', 'muted')
        value = self.value(system)
        _, low, high = estimate(look_up(system, *self.keys))
        is_best = best is not None and value is not None and self.text(value) == self.text(best)
        return BagCell(self.text(value), percent_interval(low, high), 'best' if is_best else '')

    def best(self, systems: Sequence[Mapping[str, Any]]) -> float | None:
        """The best value, if two systems or more have one and they differ."""
        values = [value for system in systems if (value := self.value(system)) is not None]
        if len(values) < 2 or len({self.text(value) for value in values}) < 2:
            return None
        return max(values) if self.is_more_better else min(values)


_MEASURES = [
    MeasureColumn('mean IoU', ('accuracy', 'mean_iou'), percent, True),
    MeasureColumn('boundary IoU', ('accuracy', 'boundary_iou'), percent, True),
    MeasureColumn('agreement', ('agreement', 'pixels'), percent, True),
    MeasureColumn('flicker', ('stability', 'flicker'), percent),
    MeasureColumn('flicker, motion compensated', ('stability', 'flicker_compensated'), percent),
    MeasureColumn('ECE', ('accuracy', 'ece'), percent),
    MeasureColumn('latency p50', ('latency_ms', 'total', 'p50'), milliseconds),
    MeasureColumn('latency p99', ('latency_ms', 'total', 'p99'), milliseconds),
    MeasureColumn('file', ('n_bytes',), file_size),
]
_MORE_MEASURES = [
    MeasureColumn('pixel accuracy', ('accuracy', 'pixel_accuracy'), percent, True),
    MeasureColumn('flicker of codes', ('stability', 'code_flicker'), percent),
    MeasureColumn('flicker of track ids', ('stability', 'track_flicker'), percent),
    MeasureColumn('mean confidence', ('confidence', 'mean'), percent, True),
    MeasureColumn('out of distribution', ('novelty', 'out_of_distribution'), percent),
    MeasureColumn('CPU, cores', ('resources', 'cpu_cores'), plain_number),
    MeasureColumn('memory, MB', ('resources', 'peak_memory_mb'), plain_number),
]
_STAGES = ('total', 'resize', 'network', 'filter', 'argmax', 'segments')
_QUANTILES = ('p50', 'p90', 'p99', 'max')


def systems_table(systems: Sequence[Mapping[str, Any]]) -> BagTable:
    """The main measures of each system; columns without a value are left out."""
    return _measures_table(systems, _MEASURES)


def more_table(systems: Sequence[Mapping[str, Any]]) -> BagTable:
    """Further measures of each system."""
    return _measures_table(systems, _MORE_MEASURES, are_best_marked=False)


def _measures_table(
    systems: Sequence[Mapping[str, Any]], measures: Sequence[MeasureColumn], are_best_marked: bool = True
) -> BagTable:
    shown = [m for m in measures if any(m.value(system) is not None for system in systems)]
    best = {m.title: m.best(systems) if are_best_marked else None for m in shown}
    rows = [
        [BagCell(system_name(system), system=k), *(m.cell(system, best[m.title]) for m in shown)]
        for k, system in enumerate(systems)
    ]
    return BagTable(['system', *(m.title for m in shown)], rows)


def stages_table(systems: Sequence[Mapping[str, Any]]) -> BagTable:
    """Latency of each stage of each system in ms."""
    rows = []
    for k, system in enumerate(systems):
        for stage in _STAGES:
            values = [as_number(look_up(system, 'latency_ms', stage, q)) for q in _QUANTILES]
            if any(value is not None for value in values):
                rows.append([BagCell(system_name(system), system=k), BagCell(stage), *_time_cells(values)])
    return _limited(['system', 'stage', *_QUANTILES], rows, 2)


def live_table(systems: Sequence[Mapping[str, Any]]) -> BagTable:
    """Frames and ages of the systems that ran live."""
    rows = []
    for k, system in enumerate(systems):
        live = look_up(system, 'live')
        if isinstance(live, Mapping):
            frames = [BagCell(count(as_number(live.get(key)))) for key in ('frames_in', 'frames_out')]
            ages = [as_number(look_up(live, 'age_ms', q)) for q in _QUANTILES]
            rows.append([BagCell(system_name(system), system=k), *frames, *_time_cells(ages)])
    return BagTable(['system', 'frames in', 'frames out', *(f'age {q}' for q in _QUANTILES)], rows)


def comparisons_table(comparisons: Any, is_baseline: bool) -> BagTable:
    """Differences with their words.

    Args:
        comparisons: Comparisons of the results.
        is_baseline: Whether the first is the earlier run, so that better and worse get colours.
    """
    rows = []
    for item in comparisons if isinstance(comparisons, list) else []:
        metric, verdict, first, second = (
            str(look_up(item, key) or '') for key in ('metric', 'verdict', 'first', 'second')
        )
        value, *ends = estimate(look_up(item, 'difference'))
        words = (
            _baseline_words(verdict, first, second) if is_baseline else BagCell(verdict, '', _quiet(verdict))
        )
        difference = BagCell(difference_text(metric, value), difference_interval(metric, *ends))
        rows.append([BagCell(metric_name(metric)), words, difference, BagCell(first), BagCell(second)])
    heads = ('earlier run', 'this run') if is_baseline else ('first', 'second')
    return _limited(['measure', 'verdict', 'difference', *heads], rows, 5)


def _baseline_words(verdict: str, before: str, now: str) -> BagCell:
    """Whether this run is better or worse; the verdict as it is if its words are unknown."""
    if _quiet(verdict):
        return BagCell('cannot be told', '', 'muted')
    for mark, sign, beginnings in (
        ('worse', '▼', (f'{before} is better', f'{now} is worse', 'worse')),
        ('better', '▲', (f'{now} is better', f'{before} is worse', 'better')),
    ):
        if verdict.startswith(beginnings):
            return BagCell(f'{sign}\u00a0{mark}', '', mark)
    return BagCell(verdict)


def _quiet(verdict: str) -> str:
    """'muted' for a verdict that tells nothing apart, else ''."""
    return 'muted' if any(word in verdict.lower() for word in ('cannot', 'no difference')) else ''


def thresholds_table(thresholds: Any) -> BagTable:
    """Thresholds, the failed ones first."""
    items = [item for item in thresholds if isinstance(item, Mapping)] if isinstance(thresholds, list) else []
    rows = []
    for item in sorted(items, key=lambda item: bool(item.get('passed'))):
        sign = '≥' if item.get('kind') == 'below' else '≤'
        is_passed = bool(item.get('passed'))
        rows.append(
            [
                BagCell('✓ passed' if is_passed else '✗ failed', mark='better' if is_passed else 'worse'),
                BagCell(str(item.get('metric', ''))),
                BagCell(plain_number(as_number(item.get('value')))),
                BagCell(f'{sign} {plain_number(as_number(item.get("limit")))}'),
                BagCell(str(item.get('system') or 'all systems')),
            ]
        )
    return _limited(['result', 'measure', 'value', 'demanded', 'system'], rows, 5)


def failures_table(failures: Any) -> BagTable:
    """Systems and bags that could not be evaluated."""
    keys = 'system', 'reason', 'bag'
    items = failures if isinstance(failures, list) else []
    rows = [[BagCell(str(look_up(item, key) or MISSING)) for key in keys] for item in items]
    return _limited(list(keys), rows, 3)


def losses_table(bags: Sequence[Mapping[str, Any]]) -> BagTable:
    """Messages of bags that were not evaluated, with the reason."""
    rows = []
    for bag in bags:
        for loss in bag.get('losses') or []:
            n = BagCell(count(as_number(look_up(loss, 'n_messages'))))
            rows.append([BagCell(str(bag.get('name', ''))), BagCell(str(look_up(loss, 'reason') or '')), n])
    return _limited(['bag', 'reason', 'messages'], rows, 2)


def classes_table(systems: Sequence[Mapping[str, Any]], names: Sequence[str]) -> BagTable:
    """Fraction of pixels and IoU of each class for each system, the numbers of the plots."""
    head, columns = ['class'], []
    for title, keys, is_estimate in (
        ('pixels', ('class_shares',), False),
        ('IoU', ('accuracy', 'class_iou'), True),
        ('IoU with reference', ('agreement', 'class_iou'), True),
    ):
        for system in systems:
            values = look_up(system, *keys)
            if isinstance(values, Mapping):
                head.append(f'{title}, {system_name(system)}' if len(systems) > 1 else title)
                columns.append((values, is_estimate))
    rows = [[BagCell(name), *(_class_cell(v.get(name), e) for v, e in columns)] for name in names]
    if any(not e and v.get('unlabelled') for v, e in columns):
        rows.append([BagCell('unlabelled'), *(_class_cell(v.get('unlabelled'), e) for v, e in columns)])
    return BagTable(head, rows if columns else [])


def _class_cell(value: Any, is_estimate: bool) -> BagCell:
    if not is_estimate:
        return BagCell(percent(as_number(value)))
    middle, low, high = estimate(value)
    return BagCell(percent(middle), percent_interval(low, high))


def _time_cells(values: Sequence[float | None]) -> list[BagCell]:
    return [BagCell(milliseconds(value)) for value in values]


def _limited(head: Sequence[str], rows: Sequence[Sequence[BagCell]], n_text_columns: int) -> BagTable:
    return BagTable(head, rows[:MOST_ROWS], n_text_columns, max(len(rows) - MOST_ROWS, 0))
