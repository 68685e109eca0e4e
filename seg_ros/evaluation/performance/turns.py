"""Contestants that take turns: each one in a process of its own, a few frames at a time.

Other load on the computer then meets all contestants alike, so ratios hold where times do not. A process of
its own keeps threads, allocators and settings of one library away from the others.
"""

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

from seg_ros.arrays import UInt8Array
from seg_ros.errors import SegRosError
from seg_ros.evaluation.turn_process import REST_S, TurnProcess
from seg_ros.inference.backends.timing import BackendTimes

log = logging.getLogger(__name__)

TOTAL, NETWORK = 'total_ms', 'network_ms'
"""Names of the times of a whole call, and of its network."""

_SHORTEST_MS = 1e-3


@dataclass(frozen=True)
class Prepared:
    """A contestant in its process, ready to run.

    Attributes:
        run: Does the work once, and returns its times in milliseconds by name; TOTAL is one of them.
        labels: (H, W) uint8 labels of the first image; None if the work has no labels.
        facts: Facts about the contestant that JSON can express.
    """

    run: Callable[[], dict[str, float]]
    labels: UInt8Array | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Contestant(Protocol):
    """Something to be timed; it is pickled, and prepared in its process."""

    def prepare(self) -> Prepared:
        """Load everything, run once, and return the work.

        Raises:
            SegRosError: The contestant cannot run here; the message gives the reason.
        """
        ...


@dataclass(frozen=True)
class Laps:
    """Times of a contestant.

    Attributes:
        times: Times by name, with TOTAL for the whole call.
        labels: (H, W) uint8 labels of the first image; None if there are none.
        facts: Facts about the contestant.
    """

    times: dict[str, BackendTimes]
    labels: UInt8Array | None
    facts: dict[str, Any]

    @property
    def total(self) -> BackendTimes:
        """Time of the whole call."""
        return self.times[TOTAL]


def times_as_json(times: BackendTimes) -> dict[str, float]:
    """Shortest and median time in milliseconds, spread as a fraction, and number of times."""
    return {
        'shortest': times.lowest_ms,
        'median': times.typical_ms,
        'spread': times.spread,
        'n': times.n,
    }


def times_faster(times: BackendTimes, other: BackendTimes | None) -> dict[str, float] | None:
    """Speed relative to other times: the quotient of the shortest, and of the median times."""
    if other is None:
        return None
    return {
        'shortest': other.lowest_ms / times.lowest_ms,
        'median': other.typical_ms / times.typical_ms,
    }


def take_turns(
    contestants: Mapping[str, Contestant], *, n_rounds: int, n_frames: int
) -> tuple[dict[str, Laps], dict[str, str]]:
    """Time contestants: a few frames of each in turn, in several rounds.

    Args:
        contestants: Contestants by name.
        n_rounds: Number of rounds, 1 or more.
        n_frames: Number of frames of each contestant in a round, 1 or more.

    Returns:
        Times of each contestant that ran, and the reason of each that did not.
    """
    with ExitStack() as stack:
        lanes, left_out = dict[str, _Lane](), dict[str, str]()
        for name, contestant in contestants.items():
            log.info('%s is prepared', name)
            lane = _Lane(stack.enter_context(TurnProcess(_serve, contestant)))
            try:
                lane.start()
                lane.turn(1)  # warms up
                lanes[name] = lane
            except SegRosError as err:
                left_out[name] = str(err)
        for _ in range(n_rounds):
            for name in list(lanes):
                time.sleep(REST_S)
                try:
                    lanes[name].turn(n_frames, counts=True)
                except SegRosError as err:
                    left_out[name] = str(err)
                    del lanes[name]
        return {name: lane.laps() for name, lane in lanes.items()}, left_out


class _Lane:
    """One contestant in its process.

    Args:
        process: The process.
    """

    def __init__(self, process: TurnProcess) -> None:
        self._process = process
        self._samples: list[dict[str, float]] = []
        self._labels: UInt8Array | None = None
        self._facts: dict[str, Any] = {}

    def start(self) -> None:
        """Start the process and wait until the contestant is prepared.

        Raises:
            UnavailableError: The contestant cannot run; the message has the reason.
        """
        self._process.start()
        self._labels, self._facts = self._process.answer()

    def turn(self, n_frames: int, *, counts: bool = False) -> None:
        """Run some frames, and keep their times if they count.

        Raises:
            UnavailableError: The contestant failed; the message has the reason.
        """
        samples = self._process.ask(n_frames)
        if counts:
            self._samples += samples

    def laps(self) -> Laps:
        """Times of all frames that counted."""
        names = self._samples[0]
        columns = {name: [max(s[name], _SHORTEST_MS) for s in self._samples] for name in names}
        times = {name: BackendTimes(min(c), statistics.median(c), len(c)) for name, c in columns.items()}
        return Laps(times, self._labels, self._facts)


def _serve(connection: Connection, contestant: Contestant) -> None:
    """Prepare a contestant, and run it for each number of frames received, until the connection closes."""
    try:
        prepared = contestant.prepare()
        connection.send((prepared.labels, prepared.facts))
        while True:
            connection.send([prepared.run() for _ in range(connection.recv())])
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as err:  # noqa: BLE001 - any error is reported, and the other contestants go on
        connection.send(str(err) or type(err).__name__)
