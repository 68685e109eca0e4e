"""Curves of a training run, as a CSV file with a row per epoch and as a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seg_ros.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ('epoch', 'learning_rate', 'loss', 'mean_iou', 'class_average', 'seconds')


def write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write ``curves.csv`` and ``curves.png``.

    Args:
        folder: Folder of the run.
        rows: One row per epoch with the keys of COLUMNS. Without a validation, mean_iou and class_average are
            NaN.

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
    measured = [r for r in rows if not math.isnan(r['mean_iou'])]
    figure = Figure(figsize=(9 if measured else 4.5, 4), layout='constrained')
    panels = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    panels[0].plot([r['epoch'] for r in rows], [r['loss'] for r in rows])
    panels[0].set(xlabel='epoch', ylabel='loss', title='Loss')
    if measured:
        _draw_validation(panels[1], measured)
    for axes in panels:
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw_validation(axes: 'Axes', rows: Sequence[dict[str, float]]) -> None:
    for key, label in (('mean_iou', 'mean IoU'), ('class_average', 'class average')):
        axes.plot([r['epoch'] for r in rows], [100 * r[key] for r in rows], marker='.', label=label)
    axes.set(xlabel='epoch', ylabel='percent', title='Validation')
    best = max(rows, key=lambda r: r['mean_iou'])
    label = f'best {100 * best["mean_iou"]:.1f}'
    axes.axvline(best['epoch'], color='grey', linewidth=0.8, label=label)
    axes.legend()
