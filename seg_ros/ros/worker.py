"""A worker thread for the newest item: a slow network lowers the rate, but never raises the age."""

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Item = TypeVar('Item')
_LOOK_PERIOD_S = 0.05


class Worker(Generic[Item]):
    """A thread with a mailbox for one item; a newer item replaces the one that waits.

    The handler of the items is made in the same thread. A network must be loaded in the thread that runs it:
    each computing thread has OpenMP threads of its own, and once these outnumber the cores, they no longer
    wait awake for work, which halves the speed of ENet.

    Args:
        prepare: Called once in the thread; returns the handler, which is called there with one item at a
            time and must not raise.
        is_over: Called now and then while ``prepare`` works; true = the worker is no longer wanted.

    Raises:
        KeyboardInterrupt: ``is_over`` returned true, or a signal came; the thread has ended.
        Exception: Any exception of ``prepare``.
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
        """Put an item into the mailbox without waiting; returns whether it replaces another one."""
        with self._changed:
            has_replaced = bool(self._mail)
            self._mail = [item]
            self._changed.notify()
        return has_replaced

    def clear(self) -> None:
        """Empty the mailbox."""
        with self._changed:
            self._mail = []

    def close(self) -> None:
        """Empty the mailbox, wait for the item in work, and end the thread."""
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
        except BaseException as err:  # noqa: BLE001 - raised again by the constructor
            prepared.set_exception(err)
            return
        while (item := self._take()) is not None:
            handle(item)
            del item  # frees the frame before the next one comes

    def _take(self) -> Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._mail or self._is_closed)
            return self._mail.pop() if self._mail else None


class RateLimit:
    """Decides which frames to take, so that their mean rate stays below a limit.

    A late frame does not delay the next one.
    """

    def __init__(self) -> None:
        self._due_s = float('-inf')

    def is_due(self, now_s: float, max_rate_hz: float) -> bool:
        """Whether to take the frame that has just arrived.

        Args:
            now_s: Time of a steady clock, in seconds.
            max_rate_hz: Maximum rate; 0 = no limit.
        """
        if max_rate_hz <= 0:
            return True
        if now_s < self._due_s:
            return False
        self._due_s = max(self._due_s, now_s - 1 / max_rate_hz) + 1 / max_rate_hz
        return True
