"""Memory that a frame frees stays with the process, for the next frame."""

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
    """Tell the C library to keep what is freed instead of handing it back to the system.

    A network's maps are megabytes large. The C library would get each of them from the system and give it
    back, for every layer of every frame, and the system clears each page anew: half of an 8-bit ENet's time
    (docs/performance.md). Holds for the whole process. Nothing happens where there is no GNU C library, nor
    where the environment says already how memory is to be kept (``MALLOC_TRIM_THRESHOLD_`` and the like).
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
