"""Result of segmenting one image, with the times of its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.options import FrameOptions
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

    def skip(self) -> None:
        """Leave the time since the last step out; the next one starts."""
        self._started = time.perf_counter()


class Scored(NamedTuple):
    """Everything that decides about an image's labels, at the network's size.

    Attributes:
        scores: (K, h, w) float32, an array, or a tensor on a GPU; None for a model without classes. In a
            :class:`LabelledImage` they may be folded, see :func:`seg_ros.arrays.unfolded`.
        segments: Segments; None unless labels depend on them.
    """

    scores: Maps | None
    segments: Segments | None


class LabelledImage(NamedTuple):
    """An image with labels, whose segments have yet to be found.

    Attributes:
        labels: (H, W) uint8, class id of each pixel, 255 = unlabelled.
        confidence: (H, W) uint8, round(255 * largest softmax probability); None unless asked for.
        resized: (h, w, 3) uint8, the image at the network's size; of its own size, if it has no segments and
            the backend resized it.
        outputs: Outputs of the network, valid until it runs again.
        scored: What has decided about the labels.
        options: Options of the frame.
        stopwatch: Times of the steps so far.
    """

    labels: UInt8Array
    confidence: UInt8Array | None
    resized: UInt8Array
    outputs: dict[str, Maps]
    scored: Scored
    options: FrameOptions
    stopwatch: Stopwatch


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
