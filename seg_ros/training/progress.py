"""Progress of a training run."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Progress of a training run, kept in its state file beside the weights.

    Attributes:
        epoch: Number of finished epochs.
        best_mean_iou: Best mean IoU of all validations so far, 0..1; -1 before the first.
        validations_without_gain: Number of validations in a row without a better mean IoU.
        figures: Figures of the last validation, see seg_ros.training.validation.as_figures.
        rows: One row per epoch, see seg_ros.training.curves.
    """

    epoch: int = 0
    best_mean_iou: float = -1.0
    validations_without_gain: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)

    def after(self, row: dict[str, float], figures: dict[str, Any] | None) -> 'Progress':
        """The progress after one more epoch.

        Args:
            row: Row of the epoch; its mean_iou is NaN without a validation.
            figures: Figures of its validation, or None.
        """
        is_measured, is_best = not math.isnan(row['mean_iou']), self.is_gain(row)
        return Progress(
            epoch=self.epoch + 1,
            best_mean_iou=row['mean_iou'] if is_best else self.best_mean_iou,
            validations_without_gain=0 if is_best else self.validations_without_gain + is_measured,
            figures=self.figures if figures is None else figures,
            rows=[*self.rows, row],
        )

    def is_gain(self, row: dict[str, float]) -> bool:
        """Whether the validation of an epoch is better than all before."""
        return row['mean_iou'] > self.best_mean_iou  # False for NaN
