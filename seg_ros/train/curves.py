"""The record of a run: a row an epoch in CSV, and the same as a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from seg_ros.errors import UnavailableError

COLUMNS = ('epoch', 'learning_rate', 'loss', 'mean_iou', 'class_average', 'seconds')


def write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write ``curves.csv`` and ``curves.png``.

    Args:
        folder: of the run.
        rows: one an epoch with the keys of COLUMNS; mean_iou and class_average are NaN where not measured.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'curves.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _draw(folder / 'curves.png', rows)


def _draw(path: Path, rows: Sequence[dict[str, float]]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as err:
        raise UnavailableError("training draws curves with matplotlib: pip install 'seg_ros[train]'") from err
    figure = Figure(figsize=(9, 4), layout='constrained')
    losses, accuracy = figure.subplots(1, 2)
    losses.plot([r['epoch'] for r in rows], [r['loss'] for r in rows], label='train')
    losses.set(xlabel='epoch', ylabel='loss', title='Loss')
    measured = [r for r in rows if not math.isnan(r['mean_iou'])]
    for key, label in (('mean_iou', 'mean IoU'), ('class_average', 'class average')):
        accuracy.plot([r['epoch'] for r in measured], [100 * r[key] for r in measured], label=label)
    accuracy.set(xlabel='epoch', ylabel='percent', title='Validation')
    if measured:
        best = max(measured, key=lambda r: r['mean_iou'])
        label = f'best {100 * best["mean_iou"]:.1f}'
        accuracy.axvline(best['epoch'], color='grey', linewidth=0.8, label=label)
    accuracy.legend()
    for axes in (losses, accuracy):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
