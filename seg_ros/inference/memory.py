"""Memory of the process.

Importing seg_ros changes nothing. The node and the command line call :func:`keep_freed_memory` at first;
loading a segmenter calls it, too.
"""

import contextlib
import ctypes
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from seg_ros._cores import usable_cores

log = logging.getLogger(__name__)

# Parameters of mallopt(3), from malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST = 1 << 30
_LARGEST_BEFORE_2_35 = 32 << 20
_AHEAD = 64 << 20
_FEWEST_ARENAS = 4
_DO_NOT_NEED = 4
"""MADV_DONTNEED of madvise(2)."""
_WORTH_IT_KB = 256
_ARENAS = 'MALLOC_ARENA_MAX'
_SETTINGS = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_MMAP_THRESHOLD_')


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory instead of returning it to the system.

    Feature maps and camera frames take megabytes. By default the C library requests each of them from the
    system and returns it, for every layer of every frame, and the system clears each page: half of the time
    of an 8-bit ENet. Threads share as many pools of memory as there are cores, at least four: with the usual
    eight for each core, the threads of models that are loaded and replaced would each keep their own. The
    settings hold for the whole process. Nothing happens without a GNU C library, or if the environment
    configures malloc already (``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES`` and the like).
    """
    tunables = os.environ.get('GLIBC_TUNABLES', '')
    if 'glibc.malloc' in tunables or any(name in os.environ for name in _SETTINGS):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    done = mallopt(_TRIM_THRESHOLD, _LARGEST) and mallopt(_TOP_PAD, _AHEAD)
    done = done and (mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_THRESHOLD, _LARGEST_BEFORE_2_35))
    if _ARENAS not in os.environ:
        mallopt(_ARENA_MAX, max(_FEWEST_ARENAS, usable_cores()))
    if not done:
        log.info('the C library does not keep freed memory; networks take longer')


def return_freed_memory() -> None:
    """Return freed memory to the system, to be called when a model has been freed.

    Each thread leaves a pool of freed memory behind, since :func:`keep_freed_memory` keeps it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def return_unused_code() -> None:
    """Take the code of libraries out of the memory of the process, to be called when a model has been loaded.

    Compilers and converters are of no use from then on. What is still in use comes back by itself, from the
    files that the system keeps in memory: a frame after this takes 2 ms longer at most. Mobile systems do the
    same with programs in the background. Only pages that hold what is in the file leave, of libraries that
    stay loaded: each is opened once more before.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        stays = {path for path in {path for path, _, _ in _code()} if _keep_loaded(path)}
        for path, begin, end in _code():
            if path in stays:
                library.madvise(begin, end - begin, _DO_NOT_NEED)


def _code() -> Iterator[tuple[str, int, int]]:
    """File and addresses of code and constants that are as in their files; from proc_pid_smaps(5)."""
    path, begin, end, n_resident_kb = '', 0, 0, 0
    for line in Path('/proc/self/smaps').read_text(errors='surrogateescape').splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(':'):
            is_constant = len(words) > 5 and words[5].startswith('/') and 'w' not in words[1]
            path = words[5] if is_constant else ''
            begin, end = (int(word, 16) for word in words[0].split('-'))
        elif words[0] == 'Rss:':
            n_resident_kb = int(words[1])
        elif words[0] == 'Anonymous:' and path and words[1] == '0' and n_resident_kb >= _WORTH_IT_KB:
            yield path, begin, end


def _keep_loaded(path: str) -> bool:
    """Keep a library loaded for the rest of the process, so that its addresses stay its own."""
    try:
        ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NOLOAD)  # ctypes never closes it
    except OSError:
        return False
    return True


class ImageSizes:
    """Sizes of the images that come; returns the memory of a size that comes no longer.

    :func:`keep_freed_memory` keeps what images of each size needed, for the next one of that size.

    Args:
        period_s: Time within which a size must come again, in seconds.
    """

    def __init__(self, period_s: float = 10.0) -> None:
        self._period_s = period_s
        self._now = self._before = frozenset[tuple[int, ...]]()
        self._since_s = time.monotonic()

    def add(self, size: tuple[int, ...]) -> None:
        """Take note of the size of an image."""
        if size not in self._now:
            self._now |= {size}

    def tidy(self) -> bool:
        """To be called now and then, by any thread; returns whether memory was returned."""
        if time.monotonic() - self._since_s < self._period_s or not self._now:
            return False
        gone = self._before - self._now
        self._before, self._now, self._since_s = self._now, frozenset(), time.monotonic()
        if gone:
            return_freed_memory()
        return bool(gone)
