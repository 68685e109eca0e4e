"""Time of a replay, as ``/clock`` shows it."""

import time


class BagTime:
    """A clock that stands at the first frame of the bag until it is started.

    Args:
        start_ns: Time at which it stands.
        rate: Speed; 1 = as recorded, above 0.
    """

    def __init__(self, start_ns: int, rate: float) -> None:
        self._origin_ns, self._rate = start_ns, rate
        self._origin_s: float | None = None

    def stand_at(self, time_ns: int) -> None:
        """Stop at this time."""
        self._origin_ns, self._origin_s = time_ns, None

    def go(self) -> None:
        """Start the clock; does nothing if it runs."""
        if self._origin_s is None:
            self._origin_s = time.monotonic()

    def now_ns(self) -> int:
        """Current time."""
        passed_s = 0.0 if self._origin_s is None else time.monotonic() - self._origin_s
        return self._origin_ns + round(1e9 * self._rate * passed_s)

    def seconds_until(self, time_ns: int) -> float:
        """Seconds of real time until the clock shows ``time_ns``; negative if that time has passed."""
        return 1e-9 * (time_ns - self.now_ns()) / self._rate
