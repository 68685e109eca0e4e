"""Processing of one image message: converted, segmented, published, or dropped for a reason."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from seg_ros.arrays import UInt8Array
from seg_ros.drawing.overlay import Overlay, draw_segments
from seg_ros.errors import ImageError, SegRosError
from seg_ros.images.messages import ImageReader
from seg_ros.inference.drops import Drop, Statistics
from seg_ros.inference.latency_budget import LatencyBudget
from seg_ros.inference.loops_ahead import waits_for
from seg_ros.inference.memory import ImageSizes
from seg_ros.inference.notes import Severity
from seg_ros.inference.options import FrameOptions
from seg_ros.inference.prediction import Prediction, Stopwatch
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.inference.stamps import Stamp
from seg_ros.ros.endpoints import OF_SEGMENTS
from seg_ros.ros.messages import ID_LIMIT, segment_array, segment_ids
from seg_ros.segments.history import CodeHistory
from seg_ros.segments.rules import MAX_SUPERPIXELS
from seg_ros.segments.segments import Segments
from seg_ros.segments.tracking import Tracker

if TYPE_CHECKING:
    from seg_ros.ros.publishers import Outputs

_OF_CLASSES = {'labels', 'confidence', 'overlay'}


class Frame(NamedTuple):
    """A frame in the mailbox.

    Attributes:
        message: Message of the camera.
        arrived_s: Time of its arrival by ``time.monotonic``, in seconds.
    """

    message: Any
    arrived_s: float


@dataclass(frozen=True)
class FrameContext:
    """The parts of a node that processing a frame needs.

    Attributes:
        outputs: Publishers of the results.
        statistics: Counters of frames and drops.
        budget: Latency budget, and the present step of quality.
        settings: Returns the current values of the parameters.
        now_ns: Returns the current time of the node's ROS clock, in nanoseconds.
        is_active: Returns whether results are still wanted.
        report_error: Called with the error of a frame: an ImageError, or any other unforeseen error.
    """

    outputs: 'Outputs'
    statistics: Statistics
    budget: LatencyBudget
    settings: Callable[[], Settings]
    now_ns: Callable[[], int]
    is_active: Callable[[], bool]
    report_error: Callable[[Exception], None]


class FrameProcessor:
    """Processes the frames of the worker thread.

    Args:
        segmenter: Segments the images; used by this thread alone.
        loaded_with: Values of the parameters that it was loaded with.
        context: The parts of the node.
        before: Processor that this one replaces; None = none. Tracks and remembered codes go on if the codes
            of both are comparable.

    Attributes:
        segmenter: The segmenter.
        loaded_with: Values of the parameters that it was loaded with.
        history: Remembers the codes of segments; None for a model without codes.
        sizes: Sizes of the images.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        loaded_with: Settings,
        context: FrameContext,
        before: 'FrameProcessor | None' = None,
    ) -> None:
        self.segmenter, self.loaded_with = segmenter, loaded_with
        self._outputs, self._statistics = context.outputs, context.statistics
        self._budget, self._settings = context.budget, context.settings
        self._now_ns, self._is_active = context.now_ns, context.is_active
        self._report_error = context.report_error
        self._overlay = Overlay(segmenter.classes)
        self._reader: ImageReader = before._reader if before else ImageReader()
        self.sizes: ImageSizes = before.sizes if before else ImageSizes()
        self._tracker, self._last_stamp_ns = Tracker(), 0
        self.history = _history(segmenter, loaded_with.segments_history)
        if before and before.history is not None and before.segmenter.codebook == segmenter.codebook:
            self._tracker, self.history = before._tracker, before.history
        self._is_announced = False

    def announce(self) -> None:
        """Publish the model and the meaning of its labels, for present and late subscribers."""
        self._is_announced = True
        self._outputs.announce(self.segmenter, self._settings().confidence_threshold)

    def announce_once(self) -> None:
        """Publish them unless this processor has done so."""
        if not self._is_announced:
            self.announce()

    def finds_segments(self) -> bool:
        """Whether frames have segments at full quality: somebody subscribes to them, or labels need them."""
        return self.history is not None and bool(
            self._outputs.wanted() & OF_SEGMENTS or self._settings().segments_refinement
        )

    def __call__(self, frame: Frame) -> None:
        """Process one frame; never raises."""
        try:
            drop = self._process(frame)
        except ImageError as err:
            self._statistics.drop(Drop.BAD, str(err))
            self._report_error(err)
        except Exception as err:  # noqa: BLE001 - whatever is wrong with this frame, the next may be good
            reason = str(err) if isinstance(err, SegRosError) else repr(err)
            self._statistics.drop(Drop.FAILED, reason)
            self._report_error(err)
        else:
            if drop:
                self._statistics.drop(drop)

    def _process(self, frame: Frame) -> Drop | None:
        """Convert, segment and publish; returns the reason if the frame was dropped."""
        message, settings, wanted = frame.message, self._settings(), self._outputs.wanted()
        self._tell_of_loops(wanted, settings)
        if not self._can_segment():
            wanted -= OF_SEGMENTS
        if not wanted:
            return Drop.NOBODY
        if _is_too_old(self._stamp(message.header), settings):
            return Drop.TOO_OLD
        stopwatch = Stopwatch()
        image = self._read(message, settings)
        self.sizes.add(image.shape)
        stopwatch.lap('convert_ms')
        labelled = self.segmenter.label(image, self._options(settings, wanted))
        if not self._is_active():
            return Drop.INACTIVE
        stamp = self._stamp(message.header)
        if _is_too_old(stamp, settings):
            return Drop.TOO_OLD
        stopwatch.skip()
        self._tell_of_classes(wanted)
        self.announce_once()
        of_classes = {'labels': labelled.labels, 'confidence': labelled.confidence}
        self._publish(of_classes, wanted, message.header)
        stopwatch.lap('publish_ms')
        if 'overlay' in wanted:
            overlay = self._overlay(
                image, labelled.labels, opacity=settings.overlay_opacity, legend=settings.overlay_legend
            )
            stopwatch.lap('overlay_ms')
            self._publish({'overlay': overlay}, wanted, message.header)
            stopwatch.lap('publish_ms')
        prediction = self.segmenter.complete(labelled)
        if prediction.segments is not None:
            stopwatch.skip()
            self._publish_segments(image, prediction, settings, wanted, message.header, stopwatch)
        times = {**stopwatch.laps_ms, **asdict(prediction.times)}
        self._statistics.publish(stamp.age_ms, times)
        if not waits_for('labels'):  # NumPy takes longer than this computer needs to
            self._budget.add(1e3 * (time.monotonic() - frame.arrived_s))
        return None

    def _can_segment(self) -> bool:
        """Whether the latency budget leaves room for segments, and their loops have been compiled."""
        return self._budget.step.segments and not waits_for('segments')

    def _publish(self, images: dict[str, Any], wanted: set[str], header: Any) -> None:
        """Publish those images, by topic name, that are wanted and there."""
        chosen = {name: image for name, image in images.items() if name in wanted and image is not None}
        self._outputs.publish(chosen, header)

    def _options(self, settings: Settings, wanted: set[str]) -> FrameOptions:
        """Options of this frame; without codes, or room for them, there are no segments and no refinement."""
        has_codes = self.history is not None and self._can_segment()
        options = FrameOptions.from_settings(
            settings,
            confidence=bool(wanted & {'confidence', 'segments'}),
            segments=has_codes and bool(wanted & OF_SEGMENTS),
        )
        return options if has_codes else replace(options, refinement=0.0)

    def _publish_segments(
        self,
        image: UInt8Array,
        prediction: Prediction,
        settings: Settings,
        wanted: set[str],
        header: Any,
        stopwatch: Stopwatch,
    ) -> None:
        """Publish everything about the segments of a frame."""
        segments, images = prediction.segments, dict[str, Any]()
        assert segments is not None
        if 'segment_ids' in wanted:
            images['segment_ids'] = segment_ids(segments)
        if 'segments_overlay' in wanted:
            images['segments_overlay'] = draw_segments(image, segments, opacity=settings.overlay_opacity)
        segment_list = self._list_segments(prediction, settings, header) if 'segments' in wanted else None
        stopwatch.lap('list_ms')
        if not self._is_active():
            return
        self._publish(images, wanted, header)
        if segment_list is not None:
            self._outputs.publish_segments(segment_list)
        stopwatch.lap('publish_ms')

    def _list_segments(self, prediction: Prediction, settings: Settings, header: Any) -> Any:
        """The message that lists segments; segments are tracked and their codes remembered on the way."""
        segments, confidence, history = prediction.segments, prediction.confidence, self.history
        assert segments is not None
        assert confidence is not None
        assert history is not None
        stamp_ns = self._stamp(header).stamp_ns
        if stamp_ns < self._last_stamp_ns:
            self._tracker.forget()
        self._last_stamp_ns = stamp_ns
        track_ids = self._tracker(segments.regions, segments.codes)
        n_kept = min(settings.segments_max_count, ID_LIMIT)
        history.add(stamp_ns, segments.codes[:n_kept], track_ids[:n_kept])
        self._tell_of_bounds(segments, n_kept, settings)
        return segment_array(
            segments,
            confidence=confidence,
            track_ids=track_ids,
            codebook=self.segmenter.codebook,
            max_count=settings.segments_max_count,
            header=header,
        )

    def _read(self, message: Any, settings: Settings) -> UInt8Array:
        """Read the image, and tell what it shows about the camera."""
        image = self._reader.read(message, settings.camera_bit_depth)
        self._statistics.notes.tell('samples', Severity.WARN, self._reader.warning)
        self._statistics.notes.tell_fact('bit_depth', self._reader.bit_depth)
        return image

    def _stamp(self, header: Any) -> Stamp:
        """Judge the stamp of a frame, and tell if it is of no use."""
        stamp = Stamp.judged(int(header.stamp.sec), int(header.stamp.nanosec), self._now_ns())
        self._statistics.notes.tell('stamp', Severity.WARN, stamp.problem)
        return stamp

    def _tell_of_classes(self, wanted: set[str]) -> None:
        """Tell if somebody waits for labels of a model without classes."""
        idle = set() if len(self.segmenter.classes) else wanted & _OF_CLASSES
        topics = ', '.join(f'~/{topic}' for topic in sorted(idle))
        text = topics and f'the model has no classes: every pixel is 255, unlabelled, on {topics}'
        self._statistics.notes.tell('classes', Severity.WARN, text)

    def _tell_of_loops(self, wanted: set[str], settings: Settings) -> None:
        """Tell if segments that are wanted wait for their loops."""
        is_wanted = self.history is not None and (wanted & OF_SEGMENTS or settings.segments_refinement)
        text = 'segments wait some seconds, until their loops are compiled, once on each computer'
        waits = is_wanted and waits_for('segments')
        self._statistics.notes.tell('loops', Severity.WARN, text if waits else '')

    def _tell_of_bounds(self, segments: Segments, n_listed: int, settings: Settings) -> None:
        """Tell if segments are coarser or fewer than asked for, because there would be too many."""
        asked = self.segmenter.segment_rules(FrameOptions.from_settings(settings)).region_size
        coarser = segments.region_size > asked and (
            f'segments.region_size {asked} gives more than {MAX_SUPERPIXELS} superpixels: '
            f'{segments.region_size} is used'
        )
        fewer = segments.n > n_listed and (
            f'the {n_listed} largest of {segments.n} segments are listed: segments.max_count'
        )
        self._statistics.notes.tell('region_size', Severity.WARN, coarser or '')
        self._statistics.notes.tell('max_count', Severity.OK, fewer or '')


def _is_too_old(stamp: Stamp, settings: Settings) -> bool:
    return stamp.behind_ms is not None and 0 < settings.max_age_ms < stamp.behind_ms


def _history(segmenter: Segmenter, capacity: int) -> CodeHistory | None:
    """An empty history for the codes of a segmenter; None if it has none."""
    pooling = segmenter.code_pooling
    return CodeHistory(segmenter.codebook, pooling.n_bits, capacity) if pooling else None
