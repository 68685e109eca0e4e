"""Times of the steps of a frame."""

import time


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
