"""Stamps of images, and their age by the clock of the node."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

MAX_AGE_S = 60.0
"""Largest age that is taken for an age; behind by more, a stamp is from another clock."""

MAX_AHEAD_S = 1.0
"""Largest time by which a stamp may be ahead of the clock."""

NS_PER_S = 1_000_000_000
_NS_PER_MS = 1e6
_SEC_LIMITS = -(2**31), 2**31 - 1


@dataclass(frozen=True)
class Stamp:
    """Stamp of an image, judged by the clock of the node.

    Attributes:
        stamp_ns: The stamp in nanoseconds.
        behind_ms: Time by which it is behind the clock, 0 if it is ahead; None if the image has no valid
            stamp.
        problem: Reason why this time is no age; empty if it is one.
    """

    stamp_ns: int
    behind_ms: float | None
    problem: str = ''

    @property
    def age_ms(self) -> float | None:
        """Age of the image; None if it is not known."""
        return None if self.problem else self.behind_ms

    @classmethod
    def judged(cls, sec: int, nanosec: int, now_ns: int) -> 'Stamp':
        """Judge a stamp.

        Args:
            sec: Seconds of the stamp.
            nanosec: Nanoseconds of the stamp; a valid one has less than 1e9.
            now_ns: Time of the clock, in nanoseconds.
        """
        stamp_ns = sec * NS_PER_S + nanosec
        if not 0 <= nanosec < NS_PER_S:
            return cls(
                stamp_ns,
                None,
                f'stamp of the images is invalid: nanosec is {nanosec}; expected below 1e9',
            )
        if stamp_ns == 0:
            return cls(stamp_ns, None, 'images have no stamp: their age is not known')
        behind_ns = now_ns - stamp_ns
        return cls(stamp_ns, max(behind_ns / _NS_PER_MS, 0.0), _problem(stamp_ns, behind_ns, now_ns))


def split_stamp(stamp_ns: int) -> tuple[int, int]:
    """Seconds and nanoseconds of a stamp, within the limits of builtin_interfaces/Time."""
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    low, high = _SEC_LIMITS
    return (sec, nanosec) if low <= sec <= high else (min(max(sec, low), high), 0)


def _problem(stamp_ns: int, behind_ns: int, now_ns: int) -> str:
    """Reason why a stamp is not of the node's clock; empty if it is."""
    behind_s = behind_ns / NS_PER_S
    if -MAX_AHEAD_S <= behind_s <= MAX_AGE_S:
        return ''
    if now_ns == 0:
        return 'the clock of the node stands at 0: use_sim_time is set, but nothing publishes /clock'
    side = 'behind' if behind_s > 0 else 'ahead of'
    return (
        f'stamp of the images ({_date(stamp_ns)}) is {_duration(abs(behind_s))} {side} the '
        'clock of the node, '
        'so their age is not known: synchronise the clocks, or set use_sim_time for a simulation or a bag'
    )


def _date(stamp_ns: int) -> str:
    """Date and time in UTC."""
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=stamp_ns // NS_PER_S)
    return moment.strftime('%Y-%m-%d %H:%M:%S')


def _duration(seconds: float) -> str:
    """A duration in the largest unit of which it has two or more."""
    for name, length in (('years', 365.25 * 86400), ('days', 86400), ('hours', 3600), ('minutes', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {name}'
    return f'{seconds:.1f} s'
