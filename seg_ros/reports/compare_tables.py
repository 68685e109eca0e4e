"""A comparison as text: an aligned table, Markdown for a README, CSV for other programs."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seg_ros.errors import ParameterError
from seg_ros.evaluation.compare import Comparison, Row
from seg_ros.metrics.labels import class_average, pixel_accuracy

MARKS = ('<!-- compression -->', '<!-- /compression -->')
"""Lines before and after the table in a Markdown file."""

NOTHING = '-'


@dataclass(frozen=True)
class Column:
    """A column of measurements.

    Attributes:
        title: Name of the measurement with its unit.
        value: Measurement of a row; None if it was not measured.
        format_spec: Format of the number.
        scale: Number shown for a value of 1.
        is_relative: Whether a difference is shown in percent of the first model's value.
        less_is_better: Whether the smaller of two values is the better one.
        in_readme: Whether the table for a README has this column.
        is_accuracy: Whether it tells how good the labels are.
    """

    title: str
    value: Callable[[Row], float | None]
    format_spec: str
    scale: float = 1.0
    is_relative: bool = False
    less_is_better: bool = False
    in_readme: bool = True
    is_accuracy: bool = False

    def text(self, row: Row) -> str:
        """Measurement of a row as text."""
        value = self.value(row)
        return NOTHING if value is None else format(self.scale * value, self.format_spec)

    def difference(self, row: Row, first: Row) -> str:
        """Difference from the first model, in the unit of the column or in percent; '' if there is none."""
        value, before = self.value(row), self.value(first)
        if value is None or before is None or row is first or (self.is_relative and not before):
            return ''
        if self.is_relative:
            return f'{100 * (value / before - 1):+.0f} %'
        return format(self.scale * (value - before), f'+{self.format_spec}')

    def is_worse(self, row: Row, first: Row) -> bool:
        """Whether a row is worse than the first one."""
        value, before = self.value(row), self.value(first)
        return value is not None and before is not None and (value > before) == self.less_is_better


def _cost(title: str, value: Callable[[Row], float | None], format_spec: str, scale: float = 1.0) -> Column:
    return Column(title, value, format_spec, scale, is_relative=True, less_is_better=True)


def _accuracy(title: str, value: Callable[[Row], float | None], *, in_readme: bool = True) -> Column:
    return Column(title, value, '.2f', 100, in_readme=in_readme, is_accuracy=True)


COLUMNS: tuple[Column, ...] = (
    _accuracy('mean IoU %', lambda row: row.mean_iou),
    _accuracy('class average %', lambda row: class_average(row.accuracy.matrix), in_readme=False),
    _accuracy('pixel accuracy %', lambda row: pixel_accuracy(row.accuracy.matrix)),
    _accuracy('boundary IoU %', lambda row: row.boundary_iou),
    Column('agreement %', lambda row: row.agreement, '.2f', 100),
    _cost('latency ms', lambda row: row.latency_ms, '.2f'),
    Column('times faster', lambda row: row.speedup, '.2f'),
    _cost('file KB', lambda row: row.n_bytes, ',.1f', 1e-3),
    _cost(
        'memory MB', lambda row: None if row.timing is None else row.timing.peak_memory_bytes, ',.0f', 1e-6
    ),
    _cost('parameters', lambda row: row.facts['n_parameters'], ',.0f'),
    _cost('GMACs', lambda row: None if row.cost is None else row.cost.n_macs, '.3f', 1e-9),
    _cost('energy mJ', lambda row: None if row.cost is None else row.cost.energy_uj, '.3g', 1e-3),
)
"""Columns of the tables; the columns NAMES stand before them."""

NAMES = ('model', 'level', 'backend')


def names_of(row: Row) -> tuple[str, str, str]:
    """Values of the columns NAMES."""
    return row.name, row.quantization, str(row.facts['backend'])


def as_text(comparison: Comparison) -> str:
    """Aligned table with one line per model and level, then who has learnt the images, and the failures."""
    head = [*NAMES, *(column.title for column in COLUMNS)]
    cells = [[*names_of(row), *(column.text(row) for column in COLUMNS)] for row in comparison.rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = [
        '  '.join(
            cell.ljust(width) if k < len(NAMES) else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (head, *cells)
    ]
    lines += said_of_learnt(comparison)
    lines += [f'failed: {f.path} at {f.quantization}: {f.reason}' for f in comparison.failed]
    return '\n'.join(lines)


def said_of_learnt(comparison: Comparison) -> list[str]:
    """A sentence for each model that has learnt the images, once for all its levels."""
    return list(dict.fromkeys(f'{row.name} {row.learnt}' for row in comparison.rows if row.learnt))


def as_markdown(comparison: Comparison) -> str:
    """Table for a README."""
    columns = [column for column in COLUMNS if column.in_readme]
    head = [*NAMES, *(column.title for column in columns)]
    rule = [*(['---'] * len(NAMES)), *(['--:'] * len(columns))]
    cells = [[*names_of(row), *(column.text(row) for column in columns)] for row in comparison.rows]
    return '\n'.join('| ' + ' | '.join(line).replace('`', '') + ' |' for line in (head, rule, *cells))


def as_csv(comparison: Comparison) -> str:
    """Measurements of the JSON report, one line per model and level; a mapping gets a column for each key."""
    lines = []
    for row in comparison.rows:
        figures = row.as_json()
        height, width = figures.pop('input_size')
        line = {'input_height': height, 'input_width': width}
        del figures['confusion_matrix']
        figures['latency_ms'] = figures['latency_ms'] or dict.fromkeys(('p50', 'p90', 'p99', 'max'))
        for key, value in figures.items():
            line |= (
                {f'{key}.{name}': v for name, v in value.items()} if isinstance(value, dict) else {key: value}
            )
        lines.append(line)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def check_markdown(path: Path) -> None:
    """Check before a long measurement that a Markdown file has a place for the table.

    Raises:
        ParameterError: The file exists and lacks the marks.
    """
    if path.exists():
        _between(path.read_text(encoding='utf-8'), path)


def write_markdown(path: Path, comparison: Comparison) -> None:
    """Put the table between the marks of a Markdown file; a new file gets only marks and table.

    Raises:
        ParameterError: The file lacks the marks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before, after = '', '\n'
    if path.exists():
        before, after = _between(path.read_text(encoding='utf-8'), path)
    text = f'{before}{MARKS[0]}\n{as_markdown(comparison)}\n{MARKS[1]}{after}'
    path.write_text(text, encoding='utf-8')


def _between(text: str, path: Path) -> tuple[str, str]:
    """Text before the first mark, and text after the second."""
    before, first, rest = text.partition(MARKS[0])
    _, second, after = rest.partition(MARKS[1])
    if not (first and second):
        raise ParameterError(
            f'{path} lacks the lines {MARKS[0]} and {MARKS[1]}, between which the table goes; '
            'add them, or name a new file'
        )
    return before, after
