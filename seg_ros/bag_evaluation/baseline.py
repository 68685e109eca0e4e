"""Comparison with the results of an earlier evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_ros.bag_evaluation.judge import METRICS, comparison
from seg_ros.bag_evaluation.results import (
    BaselineEntry,
    ComparisonEntry,
    Results,
    RunTable,
    SystemEntry,
    read_results,
)
from seg_ros.metrics.bootstrap import paired_difference, unpaired_difference
from seg_ros.metrics.labels import Counts

_TABLED = {'mean_iou': 'confusion', 'agreement': 'agreement', 'flicker_compensated': 'flicker_compensated'}
"""Compared figure -> its counts in the table of runs."""


def compare_with_baseline(results: Results, path: Path) -> BaselineEntry:
    """Compare each system with the system of the same name, or else with the only one, of earlier results.

    The same bags, cut in the same way, are compared in pairs of runs, which finds smaller differences.

    Args:
        results: Results.
        path: ``results.json`` of the earlier evaluation.

    Raises:
        SegRosError: The file cannot be read.
    """
    before = read_results(path)
    found = list[ComparisonEntry]()
    for system in results.systems:
        earlier = _counterpart(system, results, before)
        if earlier is not None:
            found += _compare(earlier, system)
    return BaselineEntry(path=str(path), comparisons=found)


def _counterpart(system: SystemEntry, results: Results, before: Results) -> SystemEntry | None:
    for earlier in before.systems:
        if earlier.name == system.name:
            return earlier
    return before.systems[0] if len(before.systems) == len(results.systems) == 1 else None


def _compare(before: SystemEntry, now: SystemEntry) -> list[ComparisonEntry]:
    found = []
    for name, table in _TABLED.items():
        old, new = _counts(before.runs, table), _counts(now.runs, table)
        if not len(old) or not len(new) or old.shape[1:] != new.shape[1:]:
            continue
        metric = METRICS[name]
        same = before.runs.bags == now.runs.bags and np.array_equal(_totals(old), _totals(new))
        compare = paired_difference if same else unpaired_difference
        difference = compare(old, new, metric.statistic)
        found.append(comparison(f'{before.name} before', now.name, name, difference, metric))
    return found


def _counts(runs: RunTable, table: str) -> Counts:
    return np.array(getattr(runs, table), np.int64)


def _totals(counts: Counts) -> Counts:
    """Number of counted pixels of each run: equal for runs of the same frames and true labels."""
    flat: Counts = counts.reshape(len(counts), -1)
    return flat[:, -1] if flat.shape[1] == 2 else flat.sum(axis=1)
