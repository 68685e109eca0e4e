"""Second pass over the bags: pictures of chosen frames, the annotated bag, and frames to label.

The first pass measures, and keeps no image. This one reads the frames that its measures point at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.bag_evaluation.annotation import AnnotatedBag
from seg_ros.bag_evaluation.frames import BagFrame
from seg_ros.bag_evaluation.gallery import GalleryFrame
from seg_ros.bag_evaluation.parts import loaded
from seg_ros.bag_evaluation.run import BagOutcome
from seg_ros.bag_evaluation.systems import System
from seg_ros.bag_evaluation.truth import Truth
from seg_ros.errors import SegRosError
from seg_ros.inference.prediction import Prediction
from seg_ros.segments.tracking import Tracker

_WIDTH = 480
_N_OF_REASON = 6
_N_SCRUBBER = 120
_APART_S = 1.0
"""Time between two frames that are shown for the same reason, in seconds."""

_MEASURES = {
    'worst': ('mean_iou', 1),
    'best': ('mean_iou', -1),
    'flickering': ('flicker_compensated', -1),
    'uncertain': ('confidence', 1),
    'unlike': ('novelty', -1),
}
"""Reason to show a frame -> value of the frame, and 1 if small values come first."""

_SHOWN = ('mean_iou', 'agreement', 'flicker_compensated', 'confidence', 'novelty')

Picks = dict[int, tuple[str, ...]]
"""Position of a frame -> reasons to show it."""


@dataclass
class SecondPass:
    """Reads chosen frames again, with the results of one system.

    Attributes:
        system: System whose results are shown.
        reference: System to compare with where true labels are missing; None = no comparison.
        annotated: Path of the annotated bag for the name of a bag; None = no annotated bags.
        report: Called with the number of frames read since the last call.
        gallery: Frames for the report, in the order of the bags.
        topics: Topics of the annotated bags.
    """

    system: System
    reference: System | None
    annotated: Callable[[str], Path] | None = None
    report: Callable[[int], object] = lambda n_frames: None
    gallery: list[GalleryFrame] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)

    def run(self, bags: Sequence[BagOutcome]) -> None:
        """Go through all bags.

        Raises:
            SegRosError: A bag cannot be read, or an annotated bag cannot be written.
        """
        measured = [bag for bag in bags if self.system.key in bag.measures]
        picks = pick_frames(measured, self.system)
        for bag in measured:
            self._run_bag(bag, picks[bag.name])

    def _run_bag(self, bag: BagOutcome, picks: Picks) -> None:
        segmenter = loaded(self.system)
        truth = bag.job.labels.open(bag.frames, self.system.classes)
        measures = bag.of(self.system)
        rows = {int(index): row for row, index in enumerate(measures.measures.frames['index'])}
        tracker, has_codes = Tracker(), segmenter.code_pooling is not None
        with ExitStack() as stack:
            annotated = None
            if self.annotated is not None:
                annotated = stack.enter_context(
                    AnnotatedBag(self.annotated(bag.name), segmenter, bag.frames.topic, overwrite=True)
                )
            for frame in self._frames(bag, picks):
                if frame.image is None or frame.index not in rows:
                    continue
                prediction = segmenter(
                    frame.image, confidence=True, segments=has_codes and annotated is not None
                )
                labels = _true_labels(truth, frame)
                values = _values(measures.measures.frames, rows[frame.index])
                if annotated is not None:
                    _annotate(annotated, frame, prediction, tracker, labels, values)
                    self.topics.update(annotated.topics)
                if frame.index in picks:
                    time_s = (frame.time_ns - measures.start_ns) / 1e9
                    self.gallery.append(
                        self._picture(bag.name, frame, time_s, picks[frame.index], prediction, labels, values)
                    )

    def _frames(self, bag: BagOutcome, picks: Picks) -> Iterator[BagFrame]:
        """All frames for an annotated bag, else the chosen ones."""
        last = bag.frames.n_frames if self.annotated is not None else max(picks, default=-1) + 1
        for frame in bag.frames.frames(0, last, only=None if self.annotated is not None else picks.keys()):
            self.report(1)
            yield frame

    def _picture(
        self,
        bag: str,
        frame: BagFrame,
        time_s: float,
        reasons: tuple[str, ...],
        prediction: Prediction,
        truth: UInt8Array | None,
        values: dict[str, float],
    ) -> GalleryFrame:
        if frame.image is None:
            raise TypeError('a frame without an image has no picture')
        others, name = truth, 'labels' if truth is not None else ''
        if others is None and self.reference is not None:
            others, name = loaded(self.reference)(frame.image, segments=False).labels, 'reference'
        difference = None
        if others is not None:
            wrong = (others != prediction.labels).astype(np.uint8)
            difference = np.where(others == UNLABELLED, np.uint8(UNLABELLED), wrong)
        return GalleryFrame(
            bag=bag,
            index=frame.index,
            time_s=time_s,
            stamp_ns=frame.stamp_ns,
            reasons=reasons,
            values=values,
            image=_small(frame.image, cv2.INTER_AREA),
            labels=_small(prediction.labels, cv2.INTER_NEAREST),
            difference=None if difference is None else _small(difference, cv2.INTER_NEAREST),
            difference_to=name,
        )


def pick_frames(bags: Sequence[BagOutcome], system: System) -> dict[str, Picks]:
    """Choose the frames to show: extremes of the measures, apart in time, and evenly spaced ones.

    Returns:
        Name of a bag -> its frames.
    """
    picks: dict[str, Picks] = {bag.name: {} for bag in bags}
    parts = [bag.of(system) for bag in bags]
    total = sum(part.measures.n_frames for part in parts)
    for part in parts:
        indices = part.measures.frames['index']
        n_shown = max(
            min(round(_N_SCRUBBER * len(indices) / max(total, 1)), len(indices)), min(len(indices), 1)
        )
        for position in np.linspace(0, len(indices) - 1, n_shown).round().astype(int):
            picks[part.bag].setdefault(int(indices[position]), ())
    for reason, (name, sign) in _MEASURES.items():
        candidates = [
            (sign * float(value), part.bag, int(index), int(time_ns))
            for part in parts
            for value, index, time_ns in zip(
                part.measures.frames[name],
                part.measures.frames['index'],
                part.measures.frames['time_ns'],
                strict=True,
            )
            if np.isfinite(value)
        ]
        for bag, index in _apart(sorted(candidates), _N_OF_REASON):
            picks[bag][index] = (*picks[bag].get(index, ()), reason)
    return picks


def _apart(candidates: Iterable[tuple[float, str, int, int]], n_most: int) -> Iterator[tuple[str, int]]:
    """The first candidates of which no two of one bag are within a second."""
    chosen = list[tuple[str, int]]()
    for _, bag, index, time_ns in candidates:
        if len(chosen) == n_most:
            return
        if all(bag != other or abs(time_ns - time) >= 1e9 * _APART_S for other, time in chosen):
            chosen.append((bag, time_ns))
            yield bag, index


def _annotate(
    annotated: AnnotatedBag,
    frame: BagFrame,
    prediction: Prediction,
    tracker: Tracker,
    truth: UInt8Array | None,
    values: Mapping[str, float],
) -> None:
    if frame.image is None:
        return
    segments = prediction.segments
    numbers = None if segments is None else tracker(segments.regions, segments.codes)
    annotated.write(
        frame.stamp_ns,
        frame.received_ns,
        frame.frame_id,
        frame.image,
        prediction.labels,
        prediction.confidence,
        segments,
        numbers,
        truth,
        values,
    )


def _true_labels(truth: Truth | None, frame: BagFrame) -> UInt8Array | None:
    if truth is None:
        return None
    try:
        return truth.labels(frame)
    except SegRosError:  # told by the first pass
        return None


def _values(frames: Mapping[str, npt.NDArray[Any]], row: int) -> dict[str, float]:
    """Measured values of a frame."""
    values = {name: float(frames[name][row]) for name in (*_SHOWN, 'total_ms')}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _small(picture: UInt8Array, interpolation: int) -> UInt8Array:
    """A picture of at most 480 pixels in width."""
    height, width = picture.shape[:2]
    if width <= _WIDTH:
        return picture
    size = _WIDTH, max(round(height * _WIDTH / width), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)
