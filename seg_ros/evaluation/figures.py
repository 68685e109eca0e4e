"""Figures as several commands report them: fractions in JSON, percent and milliseconds on the screen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet


class LabelCounter:
    """Counts the pixels of each class over many label images.

    Args:
        classes: Classes of the labels.
    """

    def __init__(self, classes: ClassSet) -> None:
        self._classes = classes
        self._counts = np.zeros(256, np.int64)

    def add(self, labels: UInt8Array) -> None:
        """Count (H, W) uint8 labels."""
        self._counts += np.bincount(labels.ravel(), minlength=256)

    def fractions(self) -> dict[str, float]:
        """Fraction of all pixels for each class, 0..1, and for 'unlabelled' if it occurs."""
        fractions = self._counts / max(self._counts.sum(), 1)
        named = {name: float(fractions[index]) for index, name in enumerate(self._classes.names)}
        return named | ({'unlabelled': float(fractions[UNLABELLED])} if fractions[UNLABELLED] else {})


def percentiles(latency_ms: Sequence[float] | npt.NDArray[np.float64]) -> dict[str, float] | None:
    """Compute ``p50``, ``p90``, ``p99`` and ``max`` of latencies.

    Args:
        latency_ms: (N,) latencies in milliseconds.

    Returns:
        Values by name, in milliseconds; None if there are no latencies.
    """
    if not len(latency_ms):
        return None
    values = np.percentile(latency_ms, (50, 90, 99, 100))
    return {name: float(value) for name, value in zip(('p50', 'p90', 'p99', 'max'), values, strict=True)}


def format_percent(fractions: Mapping[str, float]) -> str:
    """Format fractions in one line, the largest first; fractions below 0.05 % are left out."""
    largest_first = sorted(fractions.items(), key=lambda item: -item[1])
    return ', '.join(f'{name} {100 * value:.1f} %' for name, value in largest_first if value >= 0.0005)


def format_milliseconds(figures: Mapping[str, float] | None) -> str:
    """Format times in one line; empty if there are none."""
    return ', '.join(f'{name} {value:.1f}' for name, value in figures.items()) + ' ms' if figures else ''


def format_table(rows: Mapping[str, str]) -> str:
    """Format names and values, one row each; rows without a value are left out."""
    return '\n'.join(f'{name:14} {value}' for name, value in rows.items() if value)


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write figures to a JSON file; missing folders are made.

    Args:
        path: Path of the file; None = no file.
        figures: Figures that JSON can express.
    """
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + '\n')
