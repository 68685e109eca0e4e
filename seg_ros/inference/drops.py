"""Frames received, published and dropped, with the reason of each drop."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from seg_ros.inference.notes import Notes, Severity

STAGES = (
    'convert_ms',
    'resize_ms',
    'network_ms',
    'filter_ms',
    'argmax_ms',
    'segments_ms',
    'overlay_ms',
    'list_ms',
    'publish_ms',
)
"""Keys of the times of a frame's steps, in their order."""


WINDOW_S = 5.0


class Drop(Enum):
    """Reason for dropping a frame.

    seg_ros.ros.node decides REPLACED and OVER_RATE when a frame arrives, seg_ros.ros.frame_processor the
    others.

    Attributes:
        REPLACED: A newer frame arrived while this one waited in the mailbox.
        TOO_OLD: The frame was older than ``max_age_ms``, before or after inference.
        OVER_RATE: The frame came sooner than ``max_rate_hz`` allows.
        NOBODY: No output had a subscriber.
        INACTIVE: The node was deactivated while the frame was processed.
        BAD: The image could not be read.
        FAILED: The network or another step failed on a readable image.
    """

    REPLACED = 'replaced'
    TOO_OLD = 'too_old'
    OVER_RATE = 'over_rate'
    NOBODY = 'nobody_subscribed'
    INACTIVE = 'inactive'
    BAD = 'bad'
    FAILED = 'failed'


@dataclass(frozen=True)
class Summary:
    """Counts since the start, and figures of the window: the last WINDOW_S seconds.

    Attributes:
        n_in: Number of frames received since the start.
        n_out: Number of frames published since the start.
        dropped: Number of frames dropped since the start, by reason.
        recently_in: Number of frames received in the window.
        recently_out: Number of frames published in the window.
        recently_dropped: Number of frames dropped in the window, by reason.
        rate_in_hz: Frames received per second, over the window.
        rate_out_hz: Frames published per second, over the window.
        age_ms: Age at publication of each frame of the window that has a stamp.
        stages_ms: Median time of each step that took place, over the window.
        last_in_s: Seconds since a frame was received; None if none was since the last `forget`.
        bad: Error of the last bad frame in the window; empty if there was none.
        failed: Error of the last frame in the window on which a step failed; empty if there was none.
        n_lost: Number of frames lost on the way to the node since the start, as the middleware reports them.
        recently_lost: Number of frames lost in the window.
        notes: Notes on the frames, with their levels.
        facts: Key values about the frames.
    """

    n_in: int = 0
    n_out: int = 0
    dropped: Mapping[Drop, int] = field(default_factory=dict)
    recently_in: int = 0
    recently_out: int = 0
    recently_dropped: Mapping[Drop, int] = field(default_factory=dict)
    rate_in_hz: float = 0.0
    rate_out_hz: float = 0.0
    age_ms: tuple[float, ...] = ()
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    last_in_s: float | None = None
    bad: str = ''
    failed: str = ''
    n_lost: int = 0
    recently_lost: int = 0
    notes: tuple[tuple[Severity, str], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Output:
    at_s: float
    age_ms: float | None
    stages_ms: Mapping[str, float]


class Statistics:
    """Counters of frames, to be used from any thread.

    Args:
        clock: Steady clock, in seconds.

    Attributes:
        notes: Notes on the frames.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.notes = Notes(clock)
        self._n_in = self._n_out = self._n_lost = 0
        self._dropped: Counter[Drop] = Counter()
        self.forget()

    def forget(self) -> None:
        """Start the window anew; counts since the start stay."""
        self.notes.forget()
        with self._lock:
            self._since_s = self._clock()
            self._last_in_s: float | None = None
            self._inputs: deque[float] = deque()
            self._outputs: deque[_Output] = deque()
            self._drops: deque[tuple[float, Drop, str]] = deque()
            self._losses: deque[tuple[float, int]] = deque()

    def receive(self) -> None:
        """Count a received frame."""
        with self._lock:
            self._n_in += 1
            self._last_in_s = self._clock()
            self._inputs.append(self._last_in_s)
            self._trim()

    def lose(self, n_frames: int) -> None:
        """Count frames that were lost on the way to the node."""
        with self._lock:
            self._n_lost += n_frames
            self._losses.append((self._clock(), n_frames))
            self._trim()

    def drop(self, cause: Drop, reason: str = '') -> None:
        """Count a dropped frame, with the text of its error if it was bad or failed."""
        with self._lock:
            self._dropped[cause] += 1
            self._drops.append((self._clock(), cause, reason))
            self._trim()

    def publish(self, age_ms: float | None, stages_ms: Mapping[str, float]) -> None:
        """Count a published frame.

        Args:
            age_ms: Age at publication; None if it is unknown.
            stages_ms: Times of its steps, by the names in `STAGES`.
        """
        with self._lock:
            self._n_out += 1
            self._outputs.append(_Output(self._clock(), age_ms, dict(stages_ms)))
            self._trim()

    def summary(self) -> Summary:
        """Counts and figures now."""
        with self._lock:
            self._trim()
            now_s = self._clock()
            seconds = max(min(now_s - self._since_s, WINDOW_S), 1e-3)
            outputs, drops = list(self._outputs), list(self._drops)
            return Summary(
                n_in=self._n_in,
                n_out=self._n_out,
                dropped=dict(self._dropped),
                recently_in=len(self._inputs),
                recently_out=len(outputs),
                recently_dropped=Counter(cause for _, cause, _ in drops),
                rate_in_hz=len(self._inputs) / seconds,
                rate_out_hz=len(outputs) / seconds,
                age_ms=tuple(o.age_ms for o in outputs if o.age_ms is not None),
                stages_ms=_medians([o.stages_ms for o in outputs]),
                last_in_s=None if self._last_in_s is None else now_s - self._last_in_s,
                bad=_last_reason(drops, Drop.BAD),
                failed=_last_reason(drops, Drop.FAILED),
                n_lost=self._n_lost,
                recently_lost=sum(n for _, n in self._losses),
                notes=self.notes.current(),
                facts=self.notes.facts(),
            )

    def _trim(self) -> None:
        start_s = self._clock() - WINDOW_S
        while self._inputs and self._inputs[0] < start_s:
            self._inputs.popleft()
        while self._outputs and self._outputs[0].at_s < start_s:
            self._outputs.popleft()
        while self._drops and self._drops[0][0] < start_s:
            self._drops.popleft()
        while self._losses and self._losses[0][0] < start_s:
            self._losses.popleft()


def _last_reason(drops: list[tuple[float, Drop, str]], cause: Drop) -> str:
    return next((reason for _, found, reason in reversed(drops) if found is cause), '')


def _medians(frames: list[Mapping[str, float]]) -> dict[str, float]:
    found = {key: [stages[key] for stages in frames if key in stages] for key in STAGES}
    return {key: float(np.median(times)) for key, times in found.items() if times}
