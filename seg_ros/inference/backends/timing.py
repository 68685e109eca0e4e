"""Backends timed in turns, and the decision between them."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.errors import BackendError
from seg_ros.inference.backends.backend import NetworkRunner, guarded
from seg_ros.inference.backends.gpu_memory import wait_for_gpu
from seg_ros.schema import Count, Positive

MARGIN = 0.05
"""Fraction by which a backend must be faster than the one before it in the table."""

_N_TURNS, _MOST_TURNS = 7, 21
_LONGEST_S = 5.0
_SHORTEST_MS = 1e-3
_QUIET = 0.1
"""Spread up to which times are taken as undisturbed."""


@dataclass(frozen=True)
class BackendTimes:
    """Times of one backend.

    Attributes:
        lowest_ms: Shortest time: other load on the computer only adds to it.
        typical_ms: Median of all times.
        n: Number of times.
    """

    lowest_ms: Positive
    typical_ms: Positive
    n: Count

    @property
    def spread(self) -> float:
        """Fraction by which the median is above the shortest time; near 0 on a quiet computer."""
        return self.typical_ms / self.lowest_ms - 1


def time_in_turns(
    backends: Mapping[str, NetworkRunner], size: tuple[int, int]
) -> tuple[dict[str, BackendTimes], dict[str, BackendError]]:
    """Time backends in turns, so that a change of load meets all of them; longer while in doubt.

    Args:
        backends: Backends by name.
        size: (height, width) of the input in pixels.

    Returns:
        Times of each backend that ran, and errors of the others.
    """
    images = np.zeros((1, *size, 3), np.uint8)
    times: dict[str, list[float]] = {name: [] for name in backends}
    failures: dict[str, BackendError] = {}
    until_s = time.monotonic() + _LONGEST_S
    for turn in range(-1, _MOST_TURNS):
        for name in list(times):
            try:
                with guarded(f'backend {name}'):
                    duration = _seconds(backends[name], images)
            except BackendError as err:
                failures[name] = err
                del times[name]
                continue
            if turn >= 0:  # the first run of a backend allocates its memory
                times[name].append(max(1e3 * duration, _SHORTEST_MS))
        has_enough = turn + 1 >= _N_TURNS and not is_in_doubt(_summarised(times))
        if not times or has_enough or (turn >= 0 and time.monotonic() > until_s):
            break
    return _summarised(times), failures


def fastest(times: Mapping[str, BackendTimes]) -> str:
    """The backend to use: a later one must be faster than the best one before it by MARGIN."""
    names = list(times)
    best = names[0]
    for name in names[1:]:
        if times[name].lowest_ms < (1 - MARGIN) * times[best].lowest_ms:
            best = name
    return best


def is_in_doubt(times: Mapping[str, BackendTimes]) -> bool:
    """Whether disturbed times could hide a faster backend.

    A backend may be faster than its shortest time by its spread. In doubt, the quicker two cannot be told
    apart by more than that. Backends that are equally fast on a quiet computer are not in doubt.
    """
    best = times[fastest(times)]
    for other in times.values():
        spread = max(other.spread, best.spread)
        gap = abs(other.lowest_ms / best.lowest_ms - 1)
        if other is not best and spread > _QUIET and gap < MARGIN + spread:
            return True
    return False


def merged(one: Mapping[str, BackendTimes], other: Mapping[str, BackendTimes]) -> dict[str, BackendTimes]:
    """Two measurements on the same computer as one."""
    both = {name: [part[name] for part in (one, other) if name in part] for name in {**other, **one}}
    return {
        name: BackendTimes(
            min(t.lowest_ms for t in parts),
            statistics.median(t.typical_ms for t in parts),
            sum(t.n for t in parts),
        )
        for name, parts in both.items()
    }


def _summarised(times: Mapping[str, list[float]]) -> dict[str, BackendTimes]:
    return {name: BackendTimes(min(t), statistics.median(t), len(t)) for name, t in times.items() if t}


def _seconds(backend: NetworkRunner, images: UInt8Array) -> float:
    started = time.perf_counter()
    wait_for_gpu(backend(images))
    return time.perf_counter() - started
