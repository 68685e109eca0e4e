"""One thread that works on the newest item: a slow network makes the rate fall, never the age grow."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Item = TypeVar('Item')
_LOOK_PERIOD_S = 0.05


class Worker(Generic[Item]):
    """A thread with a mailbox for one item: the newest wins.

    What handles the items is made in the thread too. A network must be loaded where it runs: each thread that
    computes has OpenMP threads of its own, and once there are more of these than cores, they no longer wait
    awake for work, which costs ENet half its speed.

    Args:
        prepare: called in the thread, once; what it returns is called there with one item at a time and must
            not raise.
        is_over: asked now and then while ``prepare`` works; true = it is not wanted any more.

    Raises:
        KeyboardInterrupt: ``is_over``, or this came as an exception; the thread has ended.
        Exception: whatever ``prepare`` raises.
    """

    def __init__(
        self, prepare: Callable[[], Callable[[Item], None]], is_over: Callable[[], bool] = lambda: False
    ) -> None:
        self._changed = threading.Condition()
        self._mail: list[Item] = []
        self._is_closed = False
        prepared: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(prepare, prepared), name='seg_ros worker', daemon=True
        )
        self._thread.start()
        try:
            while not wait([prepared], _LOOK_PERIOD_S).done:
                if is_over():
                    raise KeyboardInterrupt
            prepared.result()
        except KeyboardInterrupt:
            self._interrupt()
            raise

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

    def _interrupt(self) -> None:
        """End the preparation as a signal would: a process must not end while another thread computes."""
        thread = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SystemExit))
        self.close()

    def _run(self, prepare: Callable[[], Callable[[Item], None]], prepared: 'Future[None]') -> None:
        try:
            handle = prepare()
            prepared.set_result(None)
        except BaseException as err:  # noqa: BLE001 - raised again where the worker is made
            prepared.set_exception(err)
            return
        while (item := self._take()) is not None:
            handle(item)
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
