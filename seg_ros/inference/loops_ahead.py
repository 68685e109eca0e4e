"""Loops are compiled by another process: Numba takes tens of seconds for all of them, once on each computer.

The other process compiles one group of loops after the other and keeps them on disk, where this process finds
them. Numba compiles in Python, which would hold up every other thread here.
"""

import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np

from seg_ros._caches import is_kept, library_folder
from seg_ros._numba import import_kernels, n_cores, use_kernels, wait_for_kernels
from seg_ros.inference import argmax, embedding_filter
from seg_ros.inference.backends.machine import version_of
from seg_ros.inference.memory import return_unused_code
from seg_ros.inference.warm_up import warm_up, warm_up_segments
from seg_ros.segments import regions
from seg_ros.segments.code_pooling import CodePooling

_LOOK_PERIOD_S = 0.05
_N_BITS, _N_COLOURS = 8, 9
_TWO_CORES = 2

_MODULES = {
    'labels': argmax.KERNELS[0],
    'segments': regions.KERNELS[0],
    'filter': embedding_filter.KERNELS[0],
}
"""Groups of loops, in the order in which they are compiled, and the modules by which each is used."""

_awaited: set[str] = set()
"""Groups that this process does without for now."""

_log = logging.getLogger(__name__)


class LoopsAhead:
    """A process that compiles loops; it does nothing if they are on disk already, or nothing can be kept.

    Args:
        groups: Groups to be compiled.
    """

    def __init__(self, groups: Iterable[str] = _MODULES) -> None:
        self.missing = [group for group in groups if _is_missing(group)]
        self._process: subprocess.Popen[bytes] | None = None
        if self.missing:
            words = [sys.executable, '-m', __name__, *self.missing]
            with contextlib.suppress(OSError):  # it ends when its input does, together with this process
                self._process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )

    def is_running(self) -> bool:
        """Whether the process still works."""
        return self._process is not None and self._process.poll() is None

    def wait(self, report: Callable[[str], None]) -> None:
        """Wait for the end of the process; ``report`` is called with a stage, and may raise to stop."""
        _wait_while(self.is_running, report)

    def note(self) -> None:
        """Take note on disk that its loops are there, since they have been called."""
        for group in self.missing:
            _note(group)

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def segments_ahead() -> LoopsAhead:
    """Compile the loops of segments while this process does something else; nothing with a single core."""
    return LoopsAhead(['segments'] if n_cores() >= _TWO_CORES and not _awaited else [])


def serve_meanwhile(groups: Iterable[str] = _MODULES) -> None:
    """Compile loops in another process, and do without them until they are there.

    For a node, which is to work at once: labels are computed by NumPy, and there are no segments yet.

    Args:
        groups: Groups of loops.
    """
    ahead = LoopsAhead(groups)
    if ahead.is_running():
        _awaited.update(ahead.missing)
        wait_for_kernels(_MODULES[group] for group in ahead.missing)
        threading.Thread(target=_take_over, args=(ahead,), name='seg_ros loops', daemon=True).start()


def waits_for(group: str) -> bool:
    """Whether this process does without a group of loops for now: 'labels', 'filter' or 'segments'."""
    return group in _awaited


def wait_for(group: str, report: Callable[[str], None]) -> None:
    """Wait until a group of loops is there; ``report`` is called with a stage, and may raise to stop."""
    _wait_while(lambda: waits_for(group), report)


def _wait_while(is_waiting: Callable[[], bool], report: Callable[[str], None]) -> None:
    while is_waiting():
        report('warm-up: segments')
        time.sleep(_LOOK_PERIOD_S)


def _take_over(ahead: LoopsAhead) -> None:
    """Use each group of loops once it is there; compile in this process what the other one could not."""
    start_s = time.monotonic()
    for group in ahead.missing:
        while _is_missing(group) and ahead.is_running():
            time.sleep(_LOOK_PERIOD_S)
        use_kernels([_MODULES[group]])
        if _is_missing(group) and import_kernels(*argmax.KERNELS) is not None:
            _log.warning('loops of %s could not be compiled by another process; compiling them here', group)
        _call(group)
        _awaited.discard(group)
    return_unused_code()
    _log.info('loops compiled for the first time on this computer: %.0f s', time.monotonic() - start_s)


def _call(group: str) -> None:
    """Call all loops of a group, which compiles them or loads them from disk, and take note of it on disk."""
    if group == 'segments':
        warm_up_segments(CodePooling(_N_BITS, np.zeros((_N_COLOURS, _N_BITS), np.float32)))
    else:
        warm_up(with_filter=group == 'filter')
    _note(group)


def _note(group: str) -> None:
    marker = _marker(group)
    if marker is not None and import_kernels(*argmax.KERNELS) is not None:
        with contextlib.suppress(OSError):
            marker.touch()


def _is_missing(group: str) -> bool:
    marker = _marker(group)
    return marker is not None and not marker.exists()


def _marker(group: str) -> Path | None:
    """File that exists once these versions have compiled a group; None if nothing is compiled or kept."""
    can_keep = is_kept() and importlib.util.find_spec('numba') is not None
    folder = library_folder('NUMBA_CACHE_DIR', 'numba') if can_keep else None
    return folder and folder / f'{group}-{_version()}'


@cache
def _version() -> str:
    """Digest of the versions of everything that the compiled loops depend on."""
    package = Path(__file__).parents[1]
    sources = sorted(path for part in ('segments', 'inference') for path in (package / part).glob('*.py'))
    facts = [f'{path.name} {path.stat().st_mtime_ns}' for path in (*sources, package / '_numba.py')]
    facts += [platform.python_version(), platform.machine(), version_of('numba'), version_of('numpy')]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _end_with_parent() -> None:
    """End this process when its standard input does, which its parent holds."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == '__main__':
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in sys.argv[1:]:
        _call(name)
