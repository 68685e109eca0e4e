"""Results as text for the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from seg_ros.bag_evaluation.results import Interval, Results, SystemEntry
from seg_ros.bag_evaluation.thresholds import describe

_COLUMNS: dict[str, Callable[[SystemEntry], str]] = {
    'system': lambda s: s.name,
    'mean IoU %': lambda s: _percent(s.accuracy.mean_iou if s.accuracy else None),
    'agreement %': lambda s: _percent(s.agreement.pixels if s.agreement else None),
    'compensated flicker %': lambda s: _percent(s.stability.flicker_compensated, 2),
    'ECE %': lambda s: _percent(s.accuracy.ece if s.accuracy else None),
    'p50 ms': lambda s: _ms(s, 'p50'),
    'p99 ms': lambda s: _ms(s, 'p99'),
    'KB': lambda s: f'{s.n_bytes / 1000:.0f}',
}


def as_text(results: Results) -> str:
    """Verdict, losses, failures, the table of the systems, and differences between them."""
    return '\n'.join([*_problems(results), *_table(results), '', *_words(results), results.verdict])


def _problems(results: Results) -> Iterator[str]:
    for bag in results.bags:
        lost = bag.n_frames - bag.n_evaluated
        if lost or bag.losses:
            known = [f'{lost} of {bag.n_frames} frames cannot be read'] if lost else []
            known += [f'{bag.n_labels_lost} labels cannot be used'] if bag.n_labels_lost else []
            reason = bag.losses[0].reason if bag.losses else ''
            yield f'{bag.name}: {", ".join(known) or "parts cannot be read"}: {reason}'
    for failure in results.failures:
        yield f'failed: {" on ".join(p for p in (failure.system, failure.bag) if p)}: {failure.reason}'


def _table(results: Results) -> list[str]:
    rows = [list(_COLUMNS), *([cell(s) for cell in _COLUMNS.values()] for s in results.systems)]
    used = [k for k in range(len(_COLUMNS)) if any(row[k] for row in rows[1:])]
    widths = [max(len(row[k]) for row in rows) for k in used]
    lines = []
    for row in rows:
        cells = [f'{row[k]:>{w}}' if k else f'{row[k]:{w}}' for k, w in zip(used, widths, strict=True)]
        lines.append('  '.join(cells).rstrip())
    return lines


def _words(results: Results) -> Iterator[str]:
    for entry in results.comparisons:
        yield entry.verdict
    for entry in results.baseline.comparisons if results.baseline else []:
        yield entry.verdict
    for limit in results.thresholds:
        value = 'not measured' if limit.value is None else f'{limit.value:.4g}'
        yield f'{"ok    " if limit.passed else "FAILED"} {limit.system}: {describe(limit)} ({value})'


def _percent(interval: Interval | None, digits: int = 1) -> str:
    if interval is None or interval.value is None:
        return ''
    text = f'{100 * interval.value:.{digits}f}'
    if interval.low is None or interval.high is None:
        return text
    return f'{text} ({100 * interval.low:.{digits}f}..{100 * interval.high:.{digits}f})'


def _ms(system: SystemEntry, name: str) -> str:
    times = system.latency_ms.get('total')
    return f'{getattr(times, name):.1f}' if times else ''
