"""What the node counts, and what it says of its health: above all, why there is no output.

Plain values in and out; nothing here needs ROS.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

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
"""Steps of a frame, in their order; the keys of their times."""

WINDOW_S = 5.0
STALLED_S = 2.0
"""Without an image for so long, the camera is said to have stalled."""


class Severity(Enum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


_GRAVITY = (Severity.OK, Severity.WARN, Severity.STALE, Severity.ERROR)


class Drop(Enum):
    """Why a frame gave no output."""

    REPLACED = 'replaced'
    TOO_OLD = 'too_old'
    OVER_RATE = 'over_rate'
    NOBODY = 'nobody_subscribed'
    INACTIVE = 'inactive'
    BAD = 'bad'


@dataclass(frozen=True)
class Summary:
    """Counts since the start, and what the last seconds were like.

    Attributes:
        n_in: frames received since the start.
        n_out: frames published since the start.
        dropped: frames that gave no output since the start, by cause.
        recently_in: frames received in the window.
        recently_out: frames published in the window.
        recently_dropped: the like, by cause.
        rate_in_hz: frames received in a second, over the window.
        rate_out_hz: frames published in a second, over the window.
        age_ms: age at publication of those frames of the window that have a stamp.
        stages_ms: median of every stage that took place, over the window.
        last_in_s: seconds since a frame was received; None if that has not been since the last `forget`.
        bad: why the last bad frame was bad; empty if there was none in the window.
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


@dataclass(frozen=True)
class _Output:
    at_s: float
    age_ms: float | None
    stages_ms: Mapping[str, float]


class Statistics:
    """Counts frames, from any thread.

    Args:
        clock: a steady one, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._n_in = self._n_out = 0
        self._dropped: Counter[Drop] = Counter()
        self.forget()

    def forget(self) -> None:
        """Begin the window anew; what is counted since the start stays."""
        with self._lock:
            self._since_s = self._clock()
            self._last_in_s: float | None = None
            self._inputs: deque[float] = deque()
            self._outputs: deque[_Output] = deque()
            self._drops: deque[tuple[float, Drop, str]] = deque()

    def receive(self) -> None:
        """A frame came in."""
        with self._lock:
            self._n_in += 1
            self._last_in_s = self._clock()
            self._inputs.append(self._last_in_s)
            self._trim()

    def drop(self, cause: Drop, reason: str = '') -> None:
        """A frame gave no output."""
        with self._lock:
            self._dropped[cause] += 1
            self._drops.append((self._clock(), cause, reason))
            self._trim()

    def publish(self, age_ms: float | None, stages_ms: Mapping[str, float]) -> None:
        """A frame gave output.

        Args:
            age_ms: at publication; None if it is unknown.
            stages_ms: how long its stages took, by the names in `STAGES`.
        """
        with self._lock:
            self._n_out += 1
            self._outputs.append(_Output(self._clock(), age_ms, dict(stages_ms)))
            self._trim()

    def summary(self) -> Summary:
        """All that, in figures."""
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
                bad=next((reason for _, cause, reason in reversed(drops) if cause is Drop.BAD), ''),
            )

    def _trim(self) -> None:
        start_s = self._clock() - WINDOW_S
        while self._inputs and self._inputs[0] < start_s:
            self._inputs.popleft()
        while self._outputs and self._outputs[0].at_s < start_s:
            self._outputs.popleft()
        while self._drops and self._drops[0][0] < start_s:
            self._drops.popleft()


@dataclass(frozen=True)
class Situation:
    """What the node knows besides its counts.

    Attributes:
        state: of the lifecycle, e.g. 'active'.
        failure: why the last transition failed; empty if it did not.
        topic: that images come from.
        n_publishers: on it.
        qos_mismatch: why one of them cannot be received; empty if all can.
        n_subscribers: of the outputs, summed.
        max_age_ms: limit of age, 0 = none.
        facts: further key values: backend, model, ...
    """

    state: str
    failure: str = ''
    topic: str = ''
    n_publishers: int = 0
    qos_mismatch: str = ''
    n_subscribers: int = 0
    max_age_ms: float = 0.0
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The content of a diagnostic status."""

    level: Severity
    message: str
    values: Mapping[str, str]


def judge(situation: Situation, summary: Summary) -> Verdict:
    """How the node is, and why there is no output if there is none."""
    problems = _problems(situation, summary)
    if not problems:
        age = f', age {np.percentile(summary.age_ms, 50):.0f} ms' if summary.age_ms else ''
        problems = [(Severity.OK, f'{summary.rate_out_hz:.1f} Hz{age}')]
    level = max((level for level, _ in problems), key=_GRAVITY.index)
    return Verdict(level, '; '.join(text for _, text in problems), _values(situation, summary))


def _problems(now: Situation, summary: Summary) -> list[tuple[Severity, str]]:
    if now.failure:
        return [(Severity.ERROR, now.failure)]
    if now.state != 'active':
        return [(Severity.OK, now.state)]
    return [*_camera_problems(now, summary), *_output_problems(now, summary)]


def _camera_problems(now: Situation, summary: Summary) -> list[tuple[Severity, str]]:
    if now.n_publishers == 0:
        return [(Severity.STALE, f'no publisher on {now.topic}')]
    if now.qos_mismatch:
        return [
            (Severity.WARN if summary.recently_in else Severity.ERROR, f'{now.qos_mismatch} ({now.topic})')
        ]
    if summary.last_in_s is None:
        return [(Severity.WARN, f'no image yet on {now.topic}')]
    if summary.last_in_s > STALLED_S:
        return [(Severity.STALE, f'image stalled: last frame {summary.last_in_s:.1f} s ago')]
    return []


def _output_problems(now: Situation, summary: Summary) -> list[tuple[Severity, str]]:
    if now.n_subscribers == 0:
        return [(Severity.OK, 'nobody subscribes to any output')]
    dropped = summary.recently_dropped
    n_bad, n_too_old = dropped.get(Drop.BAD, 0), dropped.get(Drop.TOO_OLD, 0)
    problems = []
    if n_bad and not summary.recently_out:
        problems.append((Severity.ERROR, f'bad images: {summary.bad}'))
    elif n_bad:
        problems.append((Severity.WARN, f'{n_bad} of {summary.recently_in} images bad: {summary.bad}'))
    if n_too_old and not summary.recently_out:
        problems.append((Severity.WARN, f'all frames older than max_age_ms = {now.max_age_ms:g}'))
    if summary.recently_in and not summary.recently_out and not problems:
        problems.append((Severity.WARN, 'no result yet'))
    return problems


def _values(now: Situation, summary: Summary) -> dict[str, str]:
    values = {
        'state': now.state,
        'rate_in_hz': f'{summary.rate_in_hz:.2f}',
        'rate_out_hz': f'{summary.rate_out_hz:.2f}',
    }
    if summary.age_ms:
        p50, p99 = np.percentile(summary.age_ms, (50, 99))
        values |= {'age_p50_ms': f'{p50:.2f}', 'age_p99_ms': f'{p99:.2f}'}
    values |= {'frames_in': str(summary.n_in), 'frames_out': str(summary.n_out)}
    values |= {f'dropped_{cause.value}': str(summary.dropped.get(cause, 0)) for cause in Drop}
    values |= {key: f'{summary.stages_ms[key]:.2f}' for key in STAGES if key in summary.stages_ms}
    return {**values, 'topic': now.topic, 'subscribers': str(now.n_subscribers), **now.facts}


def _medians(frames: list[Mapping[str, float]]) -> dict[str, float]:
    found = {key: [stages[key] for stages in frames if key in stages] for key in STAGES}
    return {key: float(np.median(times)) for key, times in found.items() if times}
