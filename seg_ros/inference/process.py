"""The whole process: thread spinning, garbage collection, and its end.

Importing seg_ros changes nothing. The programs (node and command line) call :func:`limit_thread_spinning` at
their start.
"""

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from seg_ros._caches import remove_temporary_folder

log = logging.getLogger(__name__)


def limit_thread_spinning() -> None:
    """Keep OpenMP threads from spinning for milliseconds after the network, when labels are computed.

    The threads still spin long enough to be awake for the network's next loop. To be called by a program
    before torch is imported, since GNU OpenMP reads the variable when it is loaded. Values set by the user
    are kept.
    """
    if not {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & os.environ.keys():
        os.environ['GOMP_SPINCOUNT'] = '10000'


_FLUSH_S = 0.2
_SWITCH_S = 0.001
_NEVER = 1 << 30
_LOOK_S = 0.02
_PORTION = 6
"""Number of collections of young garbage, each of some 7,000 objects, after which the rest is collected."""


class _Collection:
    """State of garbage collection.

    Attributes:
        usual: Thresholds of Python.
        is_exempting: Whether objects are being exempted from it, and a thread does that.
        has_exempted: Whether :func:`exempt_from_collection` has been called.
    """

    usual = gc.get_threshold()
    is_exempting = False
    has_exempted = False


@contextlib.contextmanager
def short_pauses() -> Iterator[None]:
    """Keep the pauses of other threads short while this thread loads a model.

    A collection of all garbage stops every thread for half a second once torch and compilers are imported.
    While libraries are imported and loops compiled, garbage is therefore collected in small portions, and the
    objects that survive are exempt from then on, see :func:`exempt_from_collection`. Threads that wait get
    their turn after a millisecond. One thread at a time may use this context.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    if not _Collection.has_exempted:
        _Collection.usual, _Collection.is_exempting = gc.get_threshold(), True
        gc.set_threshold(*_Collection.usual[:2], _NEVER)
        threading.Thread(target=_collect_portions, name='garbage', daemon=True).start()
    try:
        yield
    finally:
        _Collection.is_exempting = False
        gc.set_threshold(*_Collection.usual)
        sys.setswitchinterval(interval)


def exempt_from_collection() -> None:
    """Exempt all objects that exist at the first call within :func:`short_pauses` from garbage collection.

    To be called by a program when its libraries are imported and no backend is built yet: the objects of
    modules live as long as the process, and looking through them takes most of the time of a collection.
    """
    if _Collection.is_exempting:
        _Collection.is_exempting, _Collection.has_exempted = False, True
        gc.freeze()
        gc.set_threshold(*_Collection.usual)


def _collect_portions() -> None:
    """Collect garbage in portions that take some 20 ms, until :func:`exempt_from_collection` is called."""
    gc.freeze()
    while _Collection.is_exempting:
        time.sleep(_LOOK_S)
        if _Collection.is_exempting and gc.get_count()[2] > _PORTION:
            gc.collect()
            gc.freeze()


def end_now(code: int) -> NoReturn:
    """End the process at once, whatever its threads are doing.

    Child processes (compilers, and their children in other process groups) are killed, the standard streams
    are flushed for a fifth of a second at most, and exit handlers do not run.

    Args:
        code: Exit code.
    """
    with contextlib.suppress(Exception):
        _kill_descendants()
    with contextlib.suppress(Exception):
        remove_temporary_folder()
    with contextlib.suppress(Exception):
        # Another thread may hold the lock of a stream.
        flushing = threading.Thread(target=_flush, daemon=True)
        flushing.start()
        flushing.join(_FLUSH_S)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _kill_descendants() -> None:
    """Kill all descendants; they are stopped first, so that none starts another one meanwhile."""
    stopped: set[int] = set()
    while new := _descendants() - stopped:
        for process in new:
            _send(process, signal.SIGSTOP)
        stopped |= new
    for process in stopped:
        _send(process, signal.SIGKILL)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _descendants() -> set[int]:
    """Process ids of the children of this process, their children, and so on; from proc(5)."""
    children: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(path.read_bytes().rpartition(b')')[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        new = set(children.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found
