"""How far a training run is."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a run is; what the state file keeps beside weights.

    Attributes:
        epoch: epochs done.
        best_mean_iou: of all validations so far, 0..1; -1 before the first.
        validations_without_gain: in a row.
        figures: of the last validation, see seg_ros.training.validation.as_figures.
        rows: one an epoch, see seg_ros.training.curves.
    """

    epoch: int = 0
    best_mean_iou: float = -1.0
    validations_without_gain: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)

    def count(self, row: dict[str, float]) -> bool:
        """Enter an epoch; returns whether its validation is the best so far."""
        self.epoch += 1
        self.rows.append(row)
        if math.isnan(row['mean_iou']):
            return False
        is_best = row['mean_iou'] > self.best_mean_iou
        self.best_mean_iou = max(self.best_mean_iou, row['mean_iou'])
        self.validations_without_gain = 0 if is_best else self.validations_without_gain + 1
        return is_best
