"""Timing of several models in turn, so that other load on the computer affects all models alike.

Each model runs in another process. So the memory of each model can be measured, a model that crashes does not
stop the others, and models do not share the cache of torch.compile.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from seg_ros.arrays import UInt8Array
from seg_ros.errors import SegRosError
from seg_ros.evaluation.turn_process import REST_S, TurnProcess
from seg_ros.images.resize import resize_image
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.networks.graph.measure import process_memory

log = logging.getLogger(__name__)

N_ROUNDS, N_FRAMES = 7, 10


@dataclass(frozen=True)
class Timing:
    """Latency and memory of a model.

    Attributes:
        latency_ms: (n_rounds, n_frames) float64, time of the network, with the filter and the refinement by
            segments if the settings enable them.
        peak_memory_bytes: Maximum resident memory of the process, with Python, torch and loading.
    """

    latency_ms: npt.NDArray[np.float64]
    peak_memory_bytes: int

    def times_faster_than(self, other: 'Timing') -> float:
        """Speed relative to another model: median over the rounds of the ratio of median latencies."""
        medians = (np.median(timing.latency_ms, axis=1) for timing in (other, self))
        return float(np.median(np.divide(*medians)))


def time_in_turns(
    settings: Sequence[Settings], *, n_rounds: int = N_ROUNDS, n_frames: int = N_FRAMES
) -> list[Timing | SegRosError]:
    """Time the networks of models: a few frames of each model in turn, in several rounds.

    Args:
        settings: Settings of each model. They name the backend: 'auto' would be measured in each process.
        n_rounds: Number of rounds, 1 or more.
        n_frames: Number of frames of each model in a round, 1 or more.

    Returns:
        For each model its timing, or the error that prevented it.
    """
    with ExitStack() as stack:
        runners = [_Runner(stack.enter_context(TurnProcess(_serve, each))) for each in settings]
        taken: list[list[list[float]]] = [[] for _ in runners]
        failures: dict[int, SegRosError] = {}
        for number in tqdm(range(n_rounds + 1), desc='timing', unit='round', disable=None):
            for k, runner in enumerate(runners):
                if k in failures:
                    continue
                try:
                    times = runner.turn(n_frames)  # round 0 loads and warms up
                    if number:
                        taken[k].append(times)
                except SegRosError as err:
                    log.warning('%s could not be timed: %s', settings[k].model, err)
                    failures[k] = err
        return [
            failures.get(k) or Timing(np.array(taken[k]), runner.peak_memory_bytes)
            for k, runner in enumerate(runners)
        ]


class _Runner:
    """One model in its process.

    Args:
        process: The process.

    Attributes:
        peak_memory_bytes: Maximum resident memory of the process, after its first turn.
    """

    def __init__(self, process: TurnProcess) -> None:
        self._process = process
        self.peak_memory_bytes = 0

    def turn(self, n_frames: int) -> list[float]:
        """Time some frames; the first call starts the process.

        Args:
            n_frames: Number of frames.

        Returns:
            Latency of each frame in milliseconds.

        Raises:
            UnavailableError: The model cannot be run; the message has the reason.
        """
        if self._process.is_started:
            time.sleep(REST_S)
        else:
            self._process.start()
        times, self.peak_memory_bytes = self._process.ask(n_frames)
        return list(times)


def _serve(connection: Connection, settings: Settings) -> None:
    """Load a model, and run it for each number of frames received, until the connection closes."""
    try:
        segmenter = Segmenter.load(settings)
        scene = resize_image(segmenter.model.golden.images[0], *segmenter.input_size)
        image = np.array(scene)
        memory = 0
        while True:
            times = [_milliseconds(segmenter, image) for _ in range(connection.recv())]
            memory = memory or process_memory()
            connection.send((times, memory))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as err:  # noqa: BLE001 - any error is reported, and the other models are timed
        connection.send(str(err) or type(err).__name__)


def _milliseconds(segmenter: Segmenter, image: UInt8Array) -> float:
    started = time.perf_counter()
    segmenter.score(image)
    if segmenter.device != 'cpu':
        torch.cuda.synchronize(segmenter.device)
    return 1e3 * (time.perf_counter() - started)
