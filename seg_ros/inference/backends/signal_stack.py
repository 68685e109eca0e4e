"""The stack on which signals are handled, which a library may replace behind the back of a program."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = (('pointer', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread its alternate signal stack back when the context is left.

    On processors with AMX, each engine of OpenVINO (2026.4) sets a stack of its own for the thread that loads
    it, and frees it with the engine. If two engines are freed in the order in which they were made, the
    thread is left with memory that is gone, and the next signal (Ctrl-C, or the end of a child process) kills
    the process. The former stack stays away if it is too small for the registers of AMX; so the engine that
    was loaded here must not be freed.
    """
    if sys.platform != 'linux':
        yield
        return
    library, before = ctypes.CDLL(None), _Stack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)
