"""Health of the node: above all, the reason for missing output.

Plain values in and out; nothing here needs ROS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seg_ros.inference.drops import STAGES, WINDOW_S, Drop, Summary
from seg_ros.inference.notes import Severity as Severity

STALLED_S = 2.0
"""Seconds without an image after which the camera counts as stalled."""


_MIN_LOST, _MIN_LOST_FRACTION = 3, 0.05
_TRANSPORT_PAGE = 'docs/transport.md'

_GRAVITY = (Severity.OK, Severity.WARN, Severity.STALE, Severity.ERROR)


@dataclass(frozen=True)
class Situation:
    """State of the node besides its counts.

    Attributes:
        state: Lifecycle state, e.g. 'active'.
        failure: Error of the last transition; empty if it succeeded.
        topic: Topic of the camera.
        n_publishers: Number of publishers on that topic.
        qos_mismatch: Reason why one of them cannot be received; empty if all can.
        n_subscribers: Number of subscribers of all outputs.
        max_age_ms: Age limit, 0 = none.
        max_rate_hz: Rate limit, 0 = none.
        notes: Further things to tell, with their levels, e.g. a model that loads.
        facts: Further key values: backend, model, ...
    """

    state: str
    failure: str = ''
    topic: str = ''
    n_publishers: int = 0
    qos_mismatch: str = ''
    n_subscribers: int = 0
    max_age_ms: float = 0.0
    max_rate_hz: float = 0.0
    notes: tuple[tuple[Severity, str], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Content of a diagnostic status."""

    level: Severity
    message: str
    values: Mapping[str, str]


def judge(situation: Situation, summary: Summary) -> Verdict:
    """Health of the node, with the reason if it gives no output."""
    problems = _problems(situation, summary)
    if not problems:
        age = f', age {np.percentile(summary.age_ms, 50):.0f} ms' if summary.age_ms else ''
        problems = [(Severity.OK, f'{summary.rate_out_hz:.1f} Hz{age}')]
    notes = summary.notes if situation.state == 'active' and not situation.failure else ()
    problems = [*problems, *notes, *situation.notes]
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
    lost = _loss(summary)
    if lost:
        return [(Severity.WARN, f'{lost} ({now.topic})')]
    if summary.last_in_s is None:
        return [(Severity.WARN, f'no image yet on {now.topic}')]
    if summary.last_in_s > STALLED_S:
        return [(Severity.STALE, f'image stalled: last frame {summary.last_in_s:.1f} s ago')]
    return []


def _loss(summary: Summary) -> str:
    """Frames lost on the way, with the remedy; empty if they are few."""
    n_lost, n_sent = summary.recently_lost, summary.recently_lost + summary.recently_in
    if n_lost < max(_MIN_LOST, _MIN_LOST_FRACTION * n_sent):
        return ''
    return (
        f'{n_lost} of {n_sent} frames lost on the way in {WINDOW_S:g} s: the publisher of the images needs a '
        f'transport for large messages, see {_TRANSPORT_PAGE}'
    )


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
    if n_failed := dropped.get(Drop.FAILED, 0):
        severity = Severity.WARN if summary.recently_out else Severity.ERROR
        text = f'{n_failed} of {summary.recently_in} images failed: {summary.failed}'
        problems.append((severity, text))
    if n_too_old and not summary.recently_out:
        problems.append((Severity.WARN, f'all frames older than max_age_ms = {now.max_age_ms:g}'))
    if summary.recently_in and not summary.recently_out and not problems:
        problems.append(_silence(now, summary))
    return problems


def _silence(now: Situation, summary: Summary) -> tuple[Severity, str]:
    """Reason why no frame of the window had a result."""
    if summary.recently_dropped.get(Drop.OVER_RATE, 0) < summary.recently_in:
        return Severity.WARN, 'no result yet'
    if now.max_rate_hz:
        period_s = 1 / now.max_rate_hz
        return Severity.OK, f'max_rate_hz = {now.max_rate_hz:g} skips frames: one result every {period_s:g} s'
    return Severity.WARN, 'all frames skipped by the rate limit'


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
    values |= {'frames_lost': str(summary.n_lost)}
    values |= {f'dropped_{cause.value}': str(summary.dropped.get(cause, 0)) for cause in Drop}
    values |= {key: f'{summary.stages_ms[key]:.2f}' for key in STAGES if key in summary.stages_ms}
    values |= {'topic': now.topic, 'subscribers': str(now.n_subscribers)}
    return {**values, **summary.facts, **now.facts}
