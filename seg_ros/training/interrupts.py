"""Ctrl-C that cannot get lost.

Python raises KeyboardInterrupt wherever the main thread happens to be; in a destructor or in a callback from
compiled code it is printed and forgotten. So it is remembered as well, and the training loop asks.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_seen: list[int] = []


@contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Within it, SIGINT raises KeyboardInterrupt as ever, and :func:`raise_if_interrupted` knows of it.

    Elsewhere than in the main thread, where no handler can be set, it changes nothing.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _seen.append(number)
        signal.default_int_handler(number, frame)

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _seen.clear()


def raise_if_interrupted() -> None:
    """Raise the KeyboardInterrupt that got lost, if one did."""
    if _seen:
        raise KeyboardInterrupt
