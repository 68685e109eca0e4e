"""Measures of single frames, against true labels, a reference model, and the frame before."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array, UInt64Array
from seg_ros.bag_evaluation.descriptors import describe_frame
from seg_ros.bag_evaluation.frames import BagFrame
from seg_ros.bag_evaluation.measures import STAGES, RunCounter
from seg_ros.inference.prediction import Prediction
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics.calibration import calibration_counts
from seg_ros.metrics.flicker import Motion, find_motion, id_changes, label_changes
from seg_ros.metrics.labels import boundary_counts, confusion_matrix, mean_iou, pixel_accuracy
from seg_ros.metrics.novelty import novelty_score
from seg_ros.segments.hamming import hamming_pairs
from seg_ros.segments.tracking import Tracker

_MAX_GAP_NS = 1_000_000_000
"""Time between two frames above which they are not compared."""


@dataclass(frozen=True)
class FrameView:
    """A readable frame, with all that the systems share.

    Attributes:
        frame: The frame.
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8 true labels; None if it has none.
        reference: (H, W) uint8 labels of the reference model; None without a reference.
        before: The frame before if the two can be compared, else None.
    """

    frame: BagFrame
    image: UInt8Array
    truth: UInt8Array | None
    reference: UInt8Array | None
    before: FrameView | None

    @cached_property
    def motion(self) -> Motion | None:
        """Motion since the frame before; None without one."""
        return None if self.before is None else find_motion(self.before.image, self.image)

    def without_past(self) -> FrameView:
        """The frame without the frames before it, so that they can be freed."""
        return FrameView(self.frame, self.image, self.truth, self.reference, None)


def follows(before: BagFrame | None, frame: BagFrame) -> bool:
    """Whether two frames are consecutive: neighbours in the topic, in order, at most a second apart."""
    if before is None or before.image is None or before.index + 1 != frame.index:
        return False
    return 0 <= frame.time_ns - before.time_ns <= _MAX_GAP_NS


class SystemMeter:
    """Segments frames in their order and measures the results.

    Args:
        segmenter: The system, loaded.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._n_classes = len(segmenter.classes)
        self._has_codes = segmenter.code_pooling is not None
        self._tracker = Tracker()
        self._last: _Past | None = None
        self._last_index = -2
        self._segmented: tuple[BagFrame, _Timed] | None = None

    def look(self, view: FrameView) -> None:
        """Segment a frame only as the one before the next."""
        self._tracker.forget()
        prediction = self._segment(view.frame, view.image).prediction
        self._last, self._last_index = _Past(prediction, self._numbers(prediction)), view.frame.index

    def labels(self, frame: BagFrame, image: UInt8Array) -> UInt8Array:
        """Labels of a frame that is measured next; it is segmented once for both."""
        self._segmented = frame, self._segment(frame, image)
        return self._segmented[1].prediction.labels

    def measure(self, view: FrameView, run: RunCounter) -> dict[str, object]:
        """Segment a frame, add its counts to a run, and return its values by name."""
        timed = self._segment(view.frame, view.image)
        prediction = timed.prediction
        before = self._last if view.before is not None and self._last_index == view.frame.index - 1 else None
        if before is None:
            self._tracker.forget()
        numbers = self._numbers(prediction)
        values: dict[str, object] = {'index': view.frame.index, 'time_ns': view.frame.time_ns}
        values |= self._outputs(view.image, prediction, run)
        values |= self._against_truth(prediction, view, run)
        values['agreement'] = self._against_reference(prediction, view, run)
        values |= _changes(prediction, numbers, before, view, run)
        times = prediction.times
        values['times_ms'] = [getattr(times, f'{stage}_ms') for stage in STAGES]
        values |= {'total_ms': timed.labels_ms, 'wall_ms': timed.wall_ms, 'cpu_ms': timed.cpu_ms}
        values['memory_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._last, self._last_index = _Past(prediction, numbers), view.frame.index
        return values

    def _segment(self, frame: BagFrame, image: UInt8Array) -> _Timed:
        """Segment a frame, unless :meth:`labels` has done so."""
        if self._segmented is not None and self._segmented[0] is frame:
            return self._segmented[1]
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        prediction = self._segmenter(image, confidence=True, segments=self._has_codes)
        wall_ms, cpu_ms = 1e3 * (time.perf_counter() - wall_s), 1e3 * (time.process_time() - cpu_s)
        aside_ms = 0.0 if self._segmenter.options.refinement > 0 else prediction.times.segments_ms
        return _Timed(prediction, wall_ms - aside_ms, wall_ms, cpu_ms)

    def _numbers(self, prediction: Prediction) -> UInt64Array | None:
        if prediction.segments is None:
            return None
        return self._tracker(prediction.segments.regions, prediction.segments.codes)

    def _outputs(self, image: UInt8Array, prediction: Prediction, run: RunCounter) -> dict[str, object]:
        """Class shares, confidence, novelty and descriptor."""
        labels, confidence = prediction.labels, prediction.confidence
        counted = np.bincount(np.minimum(labels, self._n_classes).ravel(), minlength=self._n_classes + 1)
        of_confidence = np.bincount(_required(confidence).ravel(), minlength=256)
        run.add('n_frames', 1)
        run.add('labels', counted)
        run.add('confidence', of_confidence)
        return {
            'shares': counted / max(labels.size, 1),
            'confidence': float(of_confidence @ np.arange(256)) / (255 * max(labels.size, 1)),
            'novelty': novelty_score(counted, of_confidence),
            'descriptor': describe_frame(image, labels, self._n_classes),
        }

    def _against_truth(self, prediction: Prediction, view: FrameView, run: RunCounter) -> dict[str, object]:
        if view.truth is None:
            return {'mean_iou': np.nan}
        confusion = confusion_matrix(view.truth, prediction.labels, self._n_classes)
        run.add('n_labelled', 1)
        run.add('confusion', confusion)
        run.add('boundary', boundary_counts(view.truth, prediction.labels, self._n_classes))
        run.add(
            'calibration',
            calibration_counts(view.truth, prediction.labels, _required(prediction.confidence)),
        )
        return {'mean_iou': mean_iou(confusion)}

    def _against_reference(self, prediction: Prediction, view: FrameView, run: RunCounter) -> float:
        if view.reference is None:
            return float('nan')
        agreement = confusion_matrix(view.reference, prediction.labels, self._n_classes)
        run.add('agreement', agreement)
        return pixel_accuracy(agreement)


@dataclass(frozen=True)
class _Timed:
    """A prediction, the time for its labels, the time for all of it, and its processor time, in ms."""

    prediction: Prediction
    labels_ms: float
    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class _Past:
    """Prediction of the frame before, and the numbers of its segments over time."""

    prediction: Prediction
    numbers: UInt64Array | None


def _changes(
    prediction: Prediction,
    numbers: UInt64Array | None,
    before: _Past | None,
    view: FrameView,
    run: RunCounter,
) -> dict[str, object]:
    """Flicker of labels, codes and numbers."""
    values: dict[str, object] = {'flicker': np.nan, 'flicker_compensated': np.nan}
    if before is None or view.motion is None:
        return values
    motion, old = view.motion, before.prediction
    if old.labels.shape != prediction.labels.shape:
        return values
    plain = label_changes(old.labels, prediction.labels)
    moved = label_changes(motion.warp(old.labels), prediction.labels, motion.trusted)
    run.add('flicker', plain)
    run.add('flicker_compensated', moved)
    values |= {'flicker': _ratio(plain), 'flicker_compensated': _ratio(moved)}
    if numbers is not None and before.numbers is not None and old.segments and prediction.segments:
        run.add('code_flicker', _code_changes(before, prediction, numbers))
        ids_before = before.numbers[old.segments.regions.ids]
        ids = numbers[prediction.segments.regions.ids]
        run.add('track_flicker', id_changes(motion.warp(ids_before), ids, motion.trusted))
    return values


def _code_changes(before: _Past, prediction: Prediction, numbers: UInt64Array) -> tuple[int, int]:
    """Bits of the codes that differ, and that are compared, of the segments found in both frames."""
    old, new = before.prediction.segments, prediction.segments
    if old is None or new is None or before.numbers is None:
        return 0, 0
    _, first, second = np.intersect1d(before.numbers, numbers, return_indices=True)
    if not len(first):
        return 0, 0
    pairs: npt.NDArray[np.int64] = np.stack([second, first], axis=1).astype(np.int64)
    distances = hamming_pairs(new.codes, pairs, old.codes)
    return int(distances.sum()), len(pairs) * 8 * new.codes.shape[1]


def _ratio(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1] if counts[1] else float('nan')


def _required(confidence: UInt8Array | None) -> UInt8Array:
    if confidence is None:
        raise TypeError('the segmenter gave no confidence, which was asked for')
    return confidence
