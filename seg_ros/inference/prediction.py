"""Result of segmenting one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_ros.arrays import UInt8Array
    from seg_ros.segments.segments import Segments


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
