"""Which frames went in, which came out, and how long each took."""

from collections import Counter

import numpy as np
import numpy.typing as npt


class LatencyLog:
    """Books frames by their stamp, on a steady clock.

    Where several frames of one stamp are under way, a result counts for the oldest of them, and its latency,
    which might be that of another, is left out.

    Attributes:
        n_in: frames published.
        n_out: results that belong to one of them.
        n_ambiguous: results whose latency is left out.
    """

    def __init__(self) -> None:
        self.n_in = self.n_out = self.n_ambiguous = 0
        self._under_way: dict[int, list[float]] = {}
        self._given_up: Counter[int] = Counter()
        self._latencies_s: list[float] = []

    def publish(self, stamp_ns: int, now_s: float) -> None:
        """A frame goes in."""
        self.n_in += 1
        self._under_way.setdefault(stamp_ns, []).append(now_s)

    def result(self, stamp_ns: int, now_s: float) -> bool:
        """A result comes out; returns whether a frame waited for it."""
        waiting = self._under_way.get(stamp_ns)
        if not waiting:
            return False
        self.n_out += 1
        if len(waiting) == 1 and not self._given_up[stamp_ns]:
            self._latencies_s.append(now_s - waiting[0])
        else:
            self.n_ambiguous += 1
        del waiting[0]
        if not waiting:
            del self._under_way[stamp_ns]
        return True

    def is_under_way(self, stamp_ns: int) -> bool:
        """Whether a frame of that stamp still waits for its result."""
        return stamp_ns in self._under_way

    def give_up(self, stamp_ns: int) -> None:
        """Wait no longer for the frames of that stamp."""
        self._given_up[stamp_ns] += len(self._under_way.pop(stamp_ns, []))

    @property
    def latency_ms(self) -> npt.NDArray[np.float64]:
        """(N,) float64, of the results that are beyond doubt, in the order in which they came."""
        return 1e3 * np.asarray(self._latencies_s, np.float64)
