"""Curves of a training run, as a CSV file with a row per epoch and as a picture."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seg_ros.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VALIDATION = ('validation_loss', 'mean_iou', 'class_average', 'pixel_accuracy')
"""Columns of a validation; NaN in epochs without one."""

COLUMNS = ('epoch', 'learning_rate', 'loss', *VALIDATION, 'seconds')


def write_curves(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write ``curves.csv`` and ``curves.png``.

    Args:
        folder: Folder of the run.
        rows: One row per epoch with the keys of COLUMNS. Rows of an older version may lack some.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'curves.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS, restval=math.nan)
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
    _draw_losses(panels[0], rows)
    if measured:
        _draw_validation(panels[1], measured)
    for axes in panels:
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _draw_losses(axes: 'Axes', rows: Sequence[dict[str, float]]) -> None:
    axes.plot([r['epoch'] for r in rows], [r['loss'] for r in rows], label='training')
    validated = [r for r in rows if not math.isnan(r.get('validation_loss', math.nan))]
    if validated:
        epochs, losses = [r['epoch'] for r in validated], [r['validation_loss'] for r in validated]
        axes.plot(epochs, losses, marker='.', label='validation')
        axes.legend()
    axes.set(xlabel='epoch', ylabel='loss', title='Loss')


def _draw_validation(axes: 'Axes', rows: Sequence[dict[str, float]]) -> None:
    epochs = [r['epoch'] for r in rows]
    for key in VALIDATION[1:]:
        percent = [100 * r.get(key, math.nan) for r in rows]
        axes.plot(epochs, percent, marker='.', label=key.replace('_', ' ').replace('iou', 'IoU'))
    axes.set(xlabel='epoch', ylabel='percent', title='Validation')
    best = max(rows, key=lambda r: r['mean_iou'])
    label = f'best {100 * best["mean_iou"]:.1f}'
    axes.axvline(best['epoch'], color='grey', linewidth=0.8, label=label)
    axes.legend()
