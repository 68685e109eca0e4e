"""Counts of frames and results, and the latency of each frame."""

from collections import Counter

import numpy as np
import numpy.typing as npt


class LatencyLog:
    """Matches results with frames by their stamps; times are those of a steady clock.

    If several frames with one stamp are waiting, a result counts for the oldest of them. Its latency is left
    out, since the result may belong to another of them.

    Attributes:
        n_in: Number of frames published.
        n_out: Number of results that belong to a frame.
        n_ambiguous: Number of results whose latency is left out.
    """

    def __init__(self) -> None:
        self.n_in = self.n_out = self.n_ambiguous = 0
        self._waiting: dict[int, list[float]] = {}
        self._given_up: Counter[int] = Counter()
        self._latencies_s: list[float] = []

    def publish(self, stamp_ns: int, now_s: float) -> None:
        """Log that a frame is published."""
        self.n_in += 1
        self._waiting.setdefault(stamp_ns, []).append(now_s)

    def result(self, stamp_ns: int, now_s: float) -> bool:
        """Log that a result has arrived; returns whether a frame was waiting for it."""
        waiting = self._waiting.get(stamp_ns)
        if not waiting:
            return False
        self.n_out += 1
        if len(waiting) == 1 and not self._given_up[stamp_ns]:
            self._latencies_s.append(now_s - waiting[0])
        else:
            self.n_ambiguous += 1
        del waiting[0]
        if not waiting:
            del self._waiting[stamp_ns]
        return True

    def give_up(self, stamp_ns: int) -> None:
        """Stop waiting for the frames with this stamp."""
        self._given_up[stamp_ns] += len(self._waiting.pop(stamp_ns, []))

    @property
    def latency_ms(self) -> npt.NDArray[np.float64]:
        """(N,) float64 latencies of the unambiguous results, in their order of arrival."""
        return 1e3 * np.asarray(self._latencies_s, np.float64)
