"""Ctrl-C during training is never lost.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor, or in a callback from
compiled code, it is printed and forgotten. Therefore the signal is remembered as well, and the training loop
asks for it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []
"""Numbers of the signals received within :func:`remembered_interrupts`."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came.

    A plain KeyboardInterrupt that passes through exec() of a string (dataclasses do that during imports)
    makes the interpreter die of SIGINT at exit, even if it is caught; a subclass does not.
    """


@contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Within the context, SIGINT raises KeyboardInterrupt, and :func:`raise_if_interrupted` remembers it.

    In other threads than the main thread, which cannot set a handler, it does nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        raise Interrupted

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _received.clear()


def raise_if_interrupted() -> None:
    """Raise a KeyboardInterrupt if one came and was lost."""
    if _received:
        raise Interrupted
