"""Result of segmenting one image, with the times of its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_ros.arrays import UInt8Array
    from seg_ros.segments.segments import Segments


class Stopwatch:
    """Measures named steps, one after the other.

    Attributes:
        laps_ms: Name of a step -> its time in milliseconds; steps of one name are added up.
    """

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a step; the next one starts."""
        now = time.perf_counter()
        self.laps_ms[name] = self.laps_ms.get(name, 0.0) + 1e3 * (now - self._started)
        self._started = now


@dataclass(frozen=True)
class StageTimes:
    """Times of the steps of one frame, in milliseconds; 0 for a step that was not needed."""

    resize_ms: float = 0.0
    network_ms: float = 0.0
    filter_ms: float = 0.0
    argmax_ms: float = 0.0
    segments_ms: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """Result of segmenting one image.

    Attributes:
        labels: (H, W) uint8, class id of each pixel, 255 = unlabelled.
        confidence: (H, W) uint8, round(255 * largest softmax probability); None unless asked for.
        segments: Segments of the image's size, with their codes; None unless asked for.
        times: Times of the steps.
    """

    labels: UInt8Array
    confidence: UInt8Array | None = None
    segments: Segments | None = None
    times: StageTimes = StageTimes()
