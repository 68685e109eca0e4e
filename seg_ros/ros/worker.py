"""One thread that works on the newest item: a slow network makes the rate fall, never the age grow."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Worker(Generic[Item]):
    """A thread with a mailbox for one item: the newest wins.

    Args:
        handle: called in the thread, with one item at a time; must not raise.
    """

    def __init__(self, handle: Callable[[Item], None]) -> None:
        self._handle = handle
        self._changed = threading.Condition()
        self._mail: list[Item] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name='seg_ros worker', daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> bool:
        """Hand over an item without waiting; returns whether one that was waiting is given up for it."""
        with self._changed:
            has_replaced = bool(self._mail)
            self._mail = [item]
            self._changed.notify()
        return has_replaced

    def clear(self) -> None:
        """Give up the item that is waiting, if any."""
        with self._changed:
            self._mail = []

    def close(self) -> None:
        """Give up the item that is waiting, wait for the one in work, and end the thread."""
        with self._changed:
            self._mail = []
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (item := self._take()) is not None:
            self._handle(item)
            del item  # a frame shall not stay in memory until the next one comes

    def _take(self) -> Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._mail or self._is_closed)
            return self._mail.pop() if self._mail else None


class RateLimit:
    """Says which of the frames that come are due, so that their rate stays below a limit in the mean.

    A frame that came late is not held against the next one.
    """

    def __init__(self) -> None:
        self._due_s = float('-inf')

    def is_due(self, now_s: float, max_rate_hz: float) -> bool:
        """Whether to take the frame that came now.

        Args:
            now_s: of a steady clock.
            max_rate_hz: the limit; 0 = none.
        """
        if max_rate_hz <= 0:
            return True
        if now_s < self._due_s:
            return False
        self._due_s = max(self._due_s, now_s - 1 / max_rate_hz) + 1 / max_rate_hz
        return True
