"""Latency budget: a node that is too slow lowers its quality step by step, and raises it again with room.

Plain values in and out; nothing here needs ROS.
"""

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from seg_ros.inference.settings import Settings

WINDOW = 30
"""Number of frames that a decision is made by."""

SMALLEST_WINDOW = 8
"""Smallest number of frames that a decision is made by."""

PERCENTILE = 90
"""Percentile of the latency that is held against the budget."""

ROOM = 0.8
"""Fraction of the budget that the expected latency of a better step must stay below."""

FIRST_PATIENCE_S, LONGEST_PATIENCE_S = 10.0, 320.0
"""Shortest and longest time before a better step is tried; doubled whenever a try has failed."""

_MULTIPLE = 32


@dataclass(frozen=True)
class Step:
    """One step of quality.

    Attributes:
        name: The step in words, for diagnostics.
        segments: Whether segments and codes are computed.
        scale: Height and width of the network's input, as a fraction of the full ones.
        rate: Maximum rate, as a fraction of the rate at which frames arrive.
    """

    name: str
    segments: bool = True
    scale: float = 1.0
    rate: float = 1.0


STEPS = (
    Step('full quality'),
    Step('no segments', segments=False),
    Step('no segments, input 3/4', segments=False, scale=0.75),
    Step('no segments, input 1/2', segments=False, scale=0.5),
    Step('no segments, input 1/2, half the rate', segments=False, scale=0.5, rate=0.5),
    Step('no segments, input 1/2, a quarter of the rate', segments=False, scale=0.5, rate=0.25),
)
"""Steps from the best quality to the lowest latency."""


class LatencyBudget:
    """Chooses the step of quality by the latency of the last frames.

    A step down is taken when the 90th percentile of the last frames exceeds the budget. A step up is taken
    after a time without steps, when the latency that the better step had last, scaled by how the present one
    has changed since, leaves room. That time doubles with each try that is taken back (hysteresis).

    Attributes:
        index: Index of the present step in STEPS.
    """

    def __init__(self) -> None:
        self.index = 0
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._known: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self._unusable: set[int] = set()
        self._patience_s = FIRST_PATIENCE_S
        self._changed_s = float('-inf')
        self._went_up = False

    @property
    def step(self) -> Step:
        """The present step."""
        return STEPS[self.index]

    def describe(self, budget_ms: float) -> str:
        """The step in words.

        Args:
            budget_ms: Budget in milliseconds; 0 = none.
        """
        budget = f'latency budget of {budget_ms:g} ms' if budget_ms else 'latency budget is switched off'
        return f'{budget}: {self.step.name}'

    @property
    def latency_ms(self) -> float | None:
        """90th percentile of the last frames' latency; None before there are enough frames."""
        with self._lock:
            if len(self._latencies) < SMALLEST_WINDOW:
                return None
            return float(np.percentile(self._latencies, PERCENTILE))

    def add(self, latency_ms: float) -> None:
        """Count a frame; may be called from any thread.

        Args:
            latency_ms: Time from the frame's arrival to its results.
        """
        with self._lock:
            self._latencies.append(latency_ms)

    def forget(self) -> None:
        """Forget the latencies, e.g. when another model runs."""
        with self._lock:
            self._latencies.clear()

    def reset(self) -> None:
        """Go back to full quality and forget everything, e.g. when the parameters have changed."""
        self.forget()
        self.index, self._changed_s, self._went_up = 0, float('-inf'), False
        self._known.clear()
        self._first.clear()
        self._unusable.clear()
        self._patience_s = FIRST_PATIENCE_S

    def refuse(self) -> None:
        """Leave out the present step, which could not be loaded, and go back to the one before."""
        self._unusable.add(self.index)
        self.index = max(i for i in range(self.index) if i not in self._unusable)

    def update(self, budget_ms: float, now_s: float, *, has_segments: bool) -> bool:
        """Take a step if it is due; returns whether it was taken.

        Args:
            budget_ms: The budget; 0 = none, which goes back to full quality.
            now_s: Time of a steady clock, in seconds.
            has_segments: Whether segments are computed at full quality, so that leaving them out helps.
        """
        before = self.index
        if budget_ms <= 0:
            if self.index:
                self.reset()
            return self.index != before
        latency = self.latency_ms
        if latency is None:
            return False
        self._known[self.index] = latency
        self._first.setdefault(self.index, latency)
        if latency > budget_ms:
            self._go_down(now_s, has_segments)
        elif now_s - self._changed_s > self._patience_s:
            self._go_up(budget_ms, latency, now_s, has_segments)
        return self.index != before

    def applied(self, settings: Settings, input_size: tuple[int, int]) -> Settings:
        """Settings to load the model with at the present step.

        Args:
            settings: Values of the parameters.
            input_size: (height, width) of the network's input at full quality, in pixels.
        """
        if self.step.scale == 1.0:
            return settings
        height, width = (_scaled(side, self.step.scale) for side in input_size)
        return replace(settings, input_height=height, input_width=width)

    def max_rate_hz(self, max_rate_hz: float, rate_in_hz: float) -> float:
        """Rate limit at the present step; 0 = none.

        Args:
            max_rate_hz: Limit that the parameters set; 0 = none.
            rate_in_hz: Rate at which frames arrive.
        """
        if self.step.rate == 1.0:
            return max_rate_hz
        limit = self.step.rate * rate_in_hz
        return min(limit, max_rate_hz) if max_rate_hz else limit

    def _go_down(self, now_s: float, has_segments: bool) -> None:
        better = self._usable(range(self.index + 1, len(STEPS)), has_segments)
        if not better:
            return
        if self._went_up:
            self._patience_s = min(2 * self._patience_s, LONGEST_PATIENCE_S)
        self._take(better[0], now_s, went_up=False)

    def _go_up(self, budget_ms: float, latency: float, now_s: float, has_segments: bool) -> None:
        better = self._usable(range(self.index - 1, -1, -1), has_segments)
        if not better:
            return
        # The better steps were left for being too slow; the load on the computer may have changed since.
        relief = latency / self._first[self.index]
        last = next(self._known[i] for i in range(better[0], -1, -1) if i in self._known)
        if relief * last < ROOM * budget_ms or now_s - self._changed_s > LONGEST_PATIENCE_S:
            self._known = {index: relief * known for index, known in self._known.items()}
            self._take(better[0], now_s, went_up=True)

    def _usable(self, indices: range, has_segments: bool) -> list[int]:
        """Steps that can be taken; without segments, leaving them out is not one."""
        skipped = set() if has_segments else {1}
        return [i for i in indices if i not in self._unusable | skipped]

    def _take(self, index: int, now_s: float, *, went_up: bool) -> None:
        self.index, self._changed_s, self._went_up = index, now_s, went_up
        self._first.pop(index, None)
        self.forget()


def _scaled(side: int, scale: float) -> int:
    """A side of the input, scaled and rounded to what every network takes."""
    return max(round(side * scale / _MULTIPLE), 1) * _MULTIPLE
