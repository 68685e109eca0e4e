"""What becomes of one image message: converted, segmented, published, or dropped for a reason."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from seg_ros.drawing.overlay import Overlay, draw_segments
from seg_ros.errors import ImageError
from seg_ros.images.messages import image_of
from seg_ros.inference.health import Drop, Statistics
from seg_ros.inference.segmenter import SegmentedPrediction, Segmenter, embedding_filter, segment_rules
from seg_ros.inference.settings import Settings
from seg_ros.ros.messages import ID_LIMIT, segment_array, segment_ids
from seg_ros.ros.publishers import OF_SEGMENTS
from seg_ros.segments.history import CodeHistory
from seg_ros.segments.tracking import Tracker

if TYPE_CHECKING:
    from seg_ros.ros.publishers import Outputs

_NS_PER_MS = 1e6


class FrameProcessor:
    """The work on a frame, for the worker thread.

    Args:
        segmenter: does the segmentation; used by this thread alone.
        history: remembers the codes of segments; None for a model without codes.
        outputs: where results go.
        statistics: where frames are counted.
        settings: says the values of the parameters now.
        now_ns: says the time of the node's ROS clock now.
        is_active: says whether results are wanted still.
        report_error: called with the error of a frame: an ImageError, or any other unforeseen error.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        history: CodeHistory | None,
        outputs: 'Outputs',
        statistics: Statistics,
        *,
        settings: Callable[[], Settings],
        now_ns: Callable[[], int],
        is_active: Callable[[], bool],
        report_error: Callable[[Exception], None],
    ) -> None:
        self._segmenter, self._outputs, self._statistics = segmenter, outputs, statistics
        self._overlay = Overlay(segmenter.classes)
        self._history, self._tracker, self._last_stamp_ns = history, Tracker(), 0
        self._settings, self._now_ns, self._is_active = settings, now_ns, is_active
        self._report_error = report_error

    def __call__(self, message: Any) -> None:
        """Work on one message; never raises."""
        try:
            drop = self._segment(message)
        except ImageError as err:
            self._statistics.drop(Drop.BAD, str(err))
            self._report_error(err)
        except Exception as err:  # noqa: BLE001 - whatever is wrong with this frame, the next may be good
            self._statistics.drop(Drop.BAD, repr(err))
            self._report_error(err)
        else:
            if drop:
                self._statistics.drop(drop)

    def _segment(self, message: Any) -> Drop | None:
        """Do all steps that are called for; returns why the frame was dropped, if it was."""
        settings = self._settings()
        wanted = self._outputs.wanted()
        if not wanted:
            return Drop.NOBODY
        if self._is_too_old(message, settings):
            return Drop.TOO_OLD
        stopwatch = _Stopwatch()
        image = image_of(message)
        stopwatch.lap('convert_ms')
        self._segmenter.confidence_threshold = settings.confidence_threshold
        self._segmenter.rules = segment_rules(self._segmenter.model.metadata, settings)
        if self._segmenter.filter is not None:
            self._segmenter.filter = embedding_filter(
                self._segmenter.model, settings, self._segmenter.input_size
            )
        can_segment = self._history is not None
        self._segmenter.refinement = settings.segments_refinement if can_segment else 0.0
        prediction = self._segmenter(
            image,
            with_confidence=bool(wanted & {'confidence', 'segments'}),
            with_segments=can_segment and bool(wanted & OF_SEGMENTS),
        )
        results: dict[str, Any] = {'labels': prediction.labels, 'confidence': prediction.confidence}
        stopwatch.lap('', asdict(self._segmenter.times))
        if 'overlay' in wanted:
            results['overlay'] = self._overlay(
                image,
                prediction.labels,
                opacity=settings.overlay_opacity,
                legend=settings.overlay_legend,
            )
            stopwatch.lap('overlay_ms')
        segments = prediction.segments
        message_of_segments = None
        if segments is not None:
            if 'segment_ids' in wanted:
                results['segment_ids'] = segment_ids(segments)
            if 'segments_overlay' in wanted:
                results['segments_overlay'] = draw_segments(image, segments, opacity=settings.overlay_opacity)
            if 'segments' in wanted:
                message_of_segments = self._list_segments(prediction, settings, message.header)
            stopwatch.lap('list_ms')
        if not self._is_active():
            return Drop.INACTIVE
        if self._is_too_old(message, settings):
            return Drop.TOO_OLD
        age_ms = self._age_ms(message)
        self._outputs.publish(_chosen(results, wanted), message.header)
        if message_of_segments is not None:
            self._outputs.publish_segments(message_of_segments)
        stopwatch.lap('publish_ms')
        self._statistics.publish(age_ms, stopwatch.laps_ms)
        return None

    def _list_segments(self, prediction: SegmentedPrediction, settings: Settings, header: Any) -> Any:
        """The message that lists segments; they are followed over time and remembered on the way."""
        segments, confidence, history = prediction.segments, prediction.confidence, self._history
        assert segments is not None
        assert confidence is not None
        assert history is not None
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        if stamp_ns < self._last_stamp_ns:
            self._tracker.forget()
        self._last_stamp_ns = stamp_ns
        numbers = self._tracker(segments.regions, segments.codes)
        n_kept = min(settings.segments_max_count, ID_LIMIT)
        history.add(stamp_ns, segments.codes[:n_kept], numbers[:n_kept])
        return segment_array(
            segments,
            confidence=confidence,
            numbers=numbers,
            codebook=self._segmenter.codebook,
            max_count=settings.segments_max_count,
            header=header,
        )

    def _is_too_old(self, message: Any, settings: Settings) -> bool:
        age_ms = self._age_ms(message)
        return age_ms is not None and 0 < settings.max_age_ms < age_ms

    def _age_ms(self, message: Any) -> float | None:
        """Time since the stamp, 0 for one in the future; None where there is no stamp."""
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        return max((self._now_ns() - stamp_ns) / _NS_PER_MS, 0.0) if stamp_ns else None


class _Stopwatch:
    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, name: str, known_ms: Mapping[str, float] | None = None) -> None:
        """End a lap; ``known_ms`` instead if it was measured by somebody else."""
        now = time.perf_counter()
        self.laps_ms |= known_ms if known_ms is not None else {name: 1e3 * (now - self._started)}
        self._started = now


def _chosen(images: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: image for name, image in images.items() if name in names and image is not None}
