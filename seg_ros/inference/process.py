"""Settings of the whole process that make inference faster: memory and thread spinning.

Importing seg_ros changes nothing. The programs (node and command line) call both functions when they start;
loading a segmenter calls :func:`keep_freed_memory`.
"""

import ctypes
import logging
import os

log = logging.getLogger(__name__)

# Parameters of mallopt(3), from malloc.h of the GNU C library.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST = 1 << 30
_LARGEST_BEFORE_2_35 = 32 << 20
_AHEAD = 64 << 20
_SETTINGS = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_MMAP_THRESHOLD_')


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory instead of returning it to the system.

    Feature maps and camera frames take megabytes. By default the C library requests each of them from the
    system and returns it, for every layer of every frame, and the system clears each page: half of the time
    of an 8-bit ENet. The setting holds for the whole process. Nothing happens without a GNU C library, or if
    the environment configures malloc already (``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES`` and the like).
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
    if not done:
        log.info('the C library does not keep freed memory; networks take longer')


def limit_thread_spinning() -> None:
    """Keep OpenMP threads from spinning for milliseconds after the network, when labels are computed.

    The threads still spin long enough to be awake for the network's next loop. To be called by a program
    before torch is imported, since GNU OpenMP reads the variable when it is loaded. Values set by the user
    are kept.
    """
    if not {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & os.environ.keys():
        os.environ['GOMP_SPINCOUNT'] = '10000'
