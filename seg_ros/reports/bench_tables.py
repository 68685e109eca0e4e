"""The figures of ``seg_ros bench`` as aligned text or Markdown tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from seg_ros.evaluation.performance.rows import (
    STEPS,
    MachineRates,
    NetworkRow,
    PerformanceReport,
    ScalingRow,
    StartRow,
    StepsRow,
)
from seg_ros.evaluation.performance.turns import NETWORK, TOTAL, times_faster
from seg_ros.inference.backends.timing import BackendTimes
from seg_ros.reports.compare_tables import NOTHING

PAIR = 'shortest / median'
"""Meaning of the two numbers of a cell."""

_BUSY = 0.2
"""Load average for each core above which other programs disturb the times."""
_NOTHING_MS = 2e-3
"""Times below this are of steps that were not needed."""
_STEP_TITLES = {'argmax_ms': 'labels'}


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: Title with the units.
        head: Titles of the columns; the first column is aligned to the left.
        cells: Text of each row.
    """

    title: str
    head: Sequence[str]
    cells: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """The title, and below it aligned columns."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.cells, strict=True)]
        lines = [
            '  '.join(
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in (self.head, *self.cells)
        ]
        return '\n'.join([self.title, *lines])

    def as_markdown(self) -> str:
        """The title as a paragraph, and a table."""
        rule = ['---', *(['--:'] * (len(self.head) - 1))]
        lines = ['| ' + ' | '.join(line) + ' |' for line in (self.head, rule, *self.cells)]
        return '\n'.join([f'{self.title}:', '', *lines])


def tables_of(report: PerformanceReport) -> list[TextTable]:
    """All tables of a report that have rows."""
    tables = [
        _networks(report.networks),
        _operations(report.networks),
        _rates(report.rates),
        _steps(report.steps),
        _scaling('Input size', report.sizes),
        _scaling('CPU threads', report.threads),
        _scaling('Cameras, one image of each in turn', report.cameras),
        _starts(report.starts),
    ]
    return [table for table in tables if table.cells]


def report_as_text(report: PerformanceReport) -> str:
    """The machine, all tables, and what was left out."""
    given = report.conditions
    machine, model = given['machine'], given['model']
    conditions = [
        f'{given["date"]}, {machine["processor"]}, {machine["cores"]} cores, {machine["device"]}',
        f'{model["path"]} at {model["quantization"]} on {model["backend"]}',
    ]
    if given['load_average'] > _BUSY * int(machine['cores']):
        conditions.append(
            f'The computer was busy: load average {given["load_average"]:.1f} before the first turn. '
            'Even ratios of several threads are off then.'
        )
    left_out = [f'left out: {name}: {reason}' for name, reason in report.left_out.items()]
    parts = ['\n'.join(conditions), *(table.as_text() for table in tables_of(report)), '\n'.join(left_out)]
    return '\n\n'.join(filter(None, parts))


def report_as_markdown(report: PerformanceReport) -> str:
    """All tables for a page."""
    return '\n\n'.join(table.as_markdown() for table in tables_of(report))


def _networks(rows: Sequence[NetworkRow]) -> TextTable:
    title = (
        f'Image of 640x480 to labels ({PAIR}). x ENet, x ORT = times faster than ENet in eager PyTorch, and '
        'than ONNX Runtime with its defaults'
    )
    head = ['network', 'threads', 'level', 'ms', 'spread', 'network ms', 'x ENet', 'x ORT', 'same labels']
    cells = [
        [
            row.name,
            str(row.n_threads),
            str(row.laps.facts['quantization']),
            _pair(row.laps.total),
            f'{row.laps.total.spread:.0%}',
            _pair(row.laps.times[NETWORK]),
            _faster(row.laps.total, row.enet),
            _faster(row.laps.total, row.default_onnxruntime),
            NOTHING if row.agreement is None else f'{row.agreement:.1%}',
        ]
        for row in rows
    ]
    return TextTable(title, head, cells)


def _operations(rows: Sequence[NetworkRow]) -> TextTable:
    title = 'Share of the machine: rate of the network against that of float32 matrix products'
    cells = [
        [
            row.name,
            str(row.n_threads),
            _number(row.n_macs and row.n_macs / 1e9, '.2f'),
            _number(row.network_gflops, '.1f'),
            _number(row.matrix_fraction, '.0%'),
        ]
        for row in rows
    ]
    return TextTable(title, ['network', 'threads', 'GMACs', 'GFLOP/s', 'of the matrix rate'], cells)


def _rates(rates: Sequence[MachineRates]) -> TextTable:
    title = 'Rates of the machine (highest / median)'
    cells = []
    for rate in rates:
        both = [
            f'{each["highest"]:.1f} / {each["median"]:.1f}' if each else NOTHING
            for each in (rate.matrix_gflops, rate.copy_gb_per_s)
        ]
        cells.append([str(rate.n_threads), *both])
    return TextTable(title, ['threads', 'matrix product GFLOP/s', 'copy GB/s'], cells)


def _steps(rows: Sequence[StepsRow]) -> TextTable:
    used = [name for name in STEPS if any(row.laps.times[name].typical_ms > _NOTHING_MS for row in rows)]
    titles = [_STEP_TITLES.get(name, name.removesuffix('_ms')) for name in used]
    cells = [
        [row.name, *(f'{row.laps.times[name].typical_ms:.2f}' for name in used), _pair(row.laps.times[TOTAL])]
        for row in rows
    ]
    return TextTable(
        f'Steps of a frame, ms (medians; whole: {PAIR})', ['outputs', *titles, 'whole frame'], cells
    )


def _scaling(title: str, rows: Sequence[ScalingRow]) -> TextTable:
    cells = [
        [
            row.name,
            _pair(row.laps.total),
            f'{row.laps.total.spread:.0%}',
            _pair(row.laps.times[NETWORK]),
            f'{row.frames_per_s:.1f}',
            f'{row.frames_per_s / row.n_frames:.1f}',
            _faster(row.laps.total, row.first),
        ]
        for row in rows
    ]
    head = ['value', 'ms', 'spread', 'network ms', 'frames/s', 'of each camera', 'x first row']
    return TextTable(f'{title} ({PAIR})', head, cells)


def _starts(rows: Sequence[StartRow]) -> TextTable:
    cells = [
        [
            row.name,
            row.backend,
            f'{row.import_s:.2f}',
            f'{row.load_s:.2f}',
            f'{row.first_labels_s:.2f}',
            f'{row.memory_mb:.0f}',
            'yes' if row.has_torch else 'no',
        ]
        for row in rows
    ]
    head = ['program', 'backend', 'import s', 'load s', 'first labels s', 'memory MB', 'torch imported']
    return TextTable('Start of a fresh process (memory after 10 frames)', head, cells)


def _pair(times: BackendTimes) -> str:
    return f'{times.lowest_ms:.2f} / {times.typical_ms:.2f}'


def _faster(times: BackendTimes, other: BackendTimes | None) -> str:
    both = times_faster(times, other)
    return f'{both["shortest"]:.2f} / {both["median"]:.2f}' if both else NOTHING


def _number(value: float | None, format_spec: str) -> str:
    return NOTHING if value is None else format(value, format_spec)
