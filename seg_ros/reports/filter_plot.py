"""Plot of the accuracy of the embedding filter over its window and its iterations."""

from collections.abc import Mapping
from pathlib import Path

from seg_ros.reports.fronts import check_matplotlib

_SIZE_INCHES = (11, 4)
_PIXELS_PER_INCH = 110
_MEASURES = {'mean_iou': 'mean IoU, %', 'boundary_iou': 'boundary IoU, %'}


def plot_filter_sweep(
    path: Path, sweep: Mapping[tuple[int, int], Mapping[str, float]], plain: Mapping[str, float]
) -> None:
    """Plot mean IoU and boundary IoU over the iterations, a line for each window.

    Args:
        path: Path of the image file; missing folders are made.
        sweep: (window, iterations) -> figures, fractions 0..1.
        plain: Figures without a filter.

    Raises:
        UnavailableError: Matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES)
    iterations = sorted({n for _, n in sweep})
    for axis, (measure, label) in zip(figure.subplots(1, 2), _MEASURES.items(), strict=True):
        for window in sorted({w for w, _ in sweep}):
            values = [100 * sweep[window, n][measure] for n in iterations]
            axis.plot(iterations, values, marker='o', label=f'{window}x{window}')
        axis.axhline(100 * plain[measure], color='grey', linestyle='--', label='no filter')
        axis.set(xlabel='iterations', ylabel=label)
        axis.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_PIXELS_PER_INCH)
