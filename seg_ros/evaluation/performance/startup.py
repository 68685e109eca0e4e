"""Starts of fresh processes: with kept graphs, with an empty cache, and of a plain PyTorch program."""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from seg_ros.errors import SegRosError, UnavailableError
from seg_ros.evaluation.performance.rows import StartRow
from seg_ros.evaluation.performance.start_probe import PLAIN
from seg_ros.inference.settings import Settings, parameters_from

log = logging.getLogger(__name__)

_PROBE = 'seg_ros.evaluation.performance.start_probe'
_LONGEST_S = 900
_CACHES = ('NUMBA_CACHE_DIR', 'TORCHINDUCTOR_CACHE_DIR', 'TRITON_CACHE_DIR')


def measure_starts(
    settings: Settings, n_threads: int, *, with_empty_cache: bool
) -> tuple[list[StartRow], dict[str, str]]:
    """Start processes one after the other: the model, and a plain ENet in PyTorch.

    Args:
        settings: Settings that load the model.
        n_threads: Number of CPU threads of the plain ENet.
        with_empty_cache: Whether to start with empty caches too, which may export and compile.

    Returns:
        A row for each start, and the reason of each that failed.
    """
    job = {'parameters': parameters_from(settings)}
    plain = {PLAIN: {'n_threads': n_threads, 'device': settings.device}}
    rows, left_out = list[StartRow](), dict[str, str]()

    def start(name: str, job: dict[str, Any], environment: Mapping[str, str], n_times: int) -> None:
        log.info('start: %s', name)
        try:
            answers = [_start(job, environment) for _ in range(n_times)]
            rows.append(StartRow(name, **answers[-1]))
        except SegRosError as err:
            left_out[f'start, {name}'] = str(err)

    start('kept graphs', job, os.environ, 2)  # the first one may have to make them
    if with_empty_cache:
        # A process that compiles loops may still write for a moment.
        with tempfile.TemporaryDirectory(prefix='seg_ros-bench-', ignore_cleanup_errors=True) as folder:
            empty = {name: value for name, value in os.environ.items() if name not in _CACHES}
            start('empty cache', job, {**empty, 'XDG_CACHE_HOME': folder}, 1)
    start('plain ENet', plain, os.environ, 2)
    return rows, left_out


def _start(job: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Start a process, and return what it measured.

    Raises:
        UnavailableError: It failed; the message has its last line.
    """
    words = [sys.executable, '-m', _PROBE, json.dumps({**job, 'started_s': time.time()})]
    try:
        done = subprocess.run(
            words, env=dict(environment), capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise UnavailableError(f'the process did not end within {_LONGEST_S} s') from err
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ['no message']
        raise UnavailableError(f'the process ended with exit code {done.returncode}: {last[0]}')
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
