"""Worker threads for the newest item: a slow network lowers the rate, but never raises the age."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar('Item')
_MOST_LATE_S = 1.0


class Mailbox(Generic[Item]):
    """Holds the newest item until a worker takes it; a newer item replaces the one that waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: list[Item] = []

    def submit(self, item: Item) -> bool:
        """Put an item in without waiting; returns whether it replaces another one."""
        with self._changed:
            has_replaced = bool(self._items)
            self._items = [item]
            self._changed.notify_all()
        return has_replaced

    def clear(self) -> None:
        """Drop the item that waits."""
        with self._changed:
            self._items = []

    def take(self, is_closed: Callable[[], bool]) -> Item | None:
        """Wait for an item and take it; None once ``is_closed`` returns true."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or is_closed())
            return None if is_closed() else self._items.pop()

    def wake(self) -> None:
        """Let the waiting workers look whether they are closed."""
        with self._changed:
            self._changed.notify_all()


class Worker(Generic[Item]):
    """A thread that prepares a handler in the background, and then handles the items of a mailbox.

    The handler is made in the thread that runs it: each computing thread has OpenMP threads of its own, and
    once these outnumber the cores, they no longer wait awake for work, which halves the speed of ENet.

    Args:
        prepare: Called once in the thread; returns the handler, which is called there with one item at a
            time and must not raise.
        mailbox: Source of the items. Workers may share it: only one at a time takes items.
        on_prepared: Called in the thread when the preparation has ended, well or with an error.

    Attributes:
        error: Exception of ``prepare``; None if there was none, or while it works.
    """

    def __init__(
        self,
        prepare: Callable[[], Callable[[Item], None]],
        mailbox: Mailbox[Item],
        on_prepared: Callable[[], None],
    ) -> None:
        self._prepare, self._mailbox, self._on_prepared = prepare, mailbox, on_prepared
        self._may_start = threading.Event()
        self._is_prepared = threading.Event()
        self._is_closed = False
        self._before: Worker[Item] | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name='seg_ros worker', daemon=True)
        self._thread.start()

    @property
    def is_prepared(self) -> bool:
        """Whether the preparation has ended, well or with an error."""
        return self._is_prepared.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the preparation; returns whether it has come."""
        return self._is_prepared.wait(timeout_s)

    def start(self, after: 'Worker[Item] | None' = None) -> None:
        """Take items from now on.

        Args:
            after: Worker to be replaced. It is closed, but not waited for: this worker takes its first item
                when the other one has finished the item in work.
        """
        self._before = after
        if after:
            after.retire()
        self._may_start.set()

    def retire(self) -> None:
        """End the thread after the item in work, or after the preparation, without waiting for it."""
        self._is_closed = True
        self._may_start.set()
        self._mailbox.wake()

    def close(self) -> None:
        """End the thread, and wait for the item in work, but not for a preparation."""
        self.retire()
        if self.is_prepared:
            self._thread.join()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        handle: Callable[[Item], None] | None = None
        try:
            handle = self._prepare()
        except BaseException as err:  # noqa: BLE001 - handed to the owner
            self.error = err
        del self._prepare
        self._is_prepared.set()
        self._on_prepared()
        if handle is None:
            return
        self._may_start.wait()
        if self._before:
            self._before._thread.join()
            self._before = None
        while (item := self._mailbox.take(lambda: self._is_closed)) is not None:
            handle(item)
            del item  # frees the frame before the next one comes


class RateLimit:
    """Decides which frames to take, so that their mean rate stays below a limit.

    A frame is due one period after the last one that was taken, by the limit that holds when it arrives. The
    next frame is due earlier by the time that a frame came late, up to a period or a second.
    """

    def __init__(self) -> None:
        self._last_s = float('-inf')

    def is_due(self, now_s: float, max_rate_hz: float) -> bool:
        """Whether to take the frame that has just arrived.

        Args:
            now_s: Time of a steady clock, in seconds.
            max_rate_hz: Maximum rate; 0 = no limit.
        """
        period_s = 1 / max_rate_hz if max_rate_hz > 0 else 0.0
        due_s = self._last_s + period_s
        if now_s < due_s:
            return False
        self._last_s = max(due_s, now_s - min(period_s, _MOST_LATE_S))
        return True
