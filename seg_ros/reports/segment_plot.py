"""Plot of the accuracy of segments over the number of superpixels."""

from pathlib import Path

from seg_ros.evaluation.segment_accuracy import MEASURES, Sweep
from seg_ros.reports.fronts import check_matplotlib

_SIZE_INCHES = (11, 4)
_PIXELS_PER_INCH = 110


def plot_sweep(path: Path, sweep: Sweep) -> None:
    """Plot both measures over the number of superpixels, as figure 3 of the paper.

    Args:
        path: Path of the image file; missing folders are made.
        sweep: Figures to plot.

    Raises:
        UnavailableError: Matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES)
    axes = figure.subplots(1, 2)
    for axis, measure in zip(axes, MEASURES, strict=True):
        for method, values in sweep.values.items():
            percent = [100 * value for value in values[measure]]
            axis.plot(sweep.n_superpixels, percent, marker='o', label=method)
        axis.set(xscale='log', xlabel='superpixels', ylabel=f'{measure.replace("_", " ")}, %')
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_PIXELS_PER_INCH)
