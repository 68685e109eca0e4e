import threading
import time
import weakref
from collections.abc import Callable

import pytest

from seg_ros.ros.worker import RateLimit, Worker


class Gate:
    """Handles items one by one, each when it is let through."""

    def __init__(self) -> None:
        self.handled: list[object] = []
        self.has_begun, self._may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, item: object) -> None:
        self.has_begun.release()
        self._may_go_on.acquire()
        self.handled.append(item)

    def open(self, times: int = 1) -> None:
        self._may_go_on.release(times)


def test_newest_wins() -> None:
    gate = Gate()
    worker = Worker(lambda: gate)
    assert not worker.submit('first')
    gate.has_begun.acquire()
    assert [worker.submit(item) for item in ('second', 'third', 'fourth')] == [False, True, True]
    gate.open(2)
    gate.has_begun.acquire()
    worker.close()
    assert gate.handled == ['first', 'fourth']


def test_everything_happens_in_one_thread() -> None:
    threads: list[str] = []

    def note(item: object = None) -> None:
        threads.append(threading.current_thread().name)

    def prepare() -> Callable[[object], None]:
        note()
        return note

    worker: Worker[object] = Worker(prepare)
    worker.submit('item')
    while len(threads) < 2:
        pass
    worker.close()
    assert threads == ['seg_ros worker'] * 2


def test_what_goes_wrong_at_the_start_is_raised_where_the_worker_is_made() -> None:
    def prepare() -> Callable[[object], None]:
        raise ValueError('no such model')

    with pytest.raises(ValueError, match='no such model'):
        Worker(prepare)


def test_a_preparation_that_is_not_wanted_any_more_is_ended() -> None:
    has_begun = threading.Event()

    def prepare() -> Callable[[object], None]:
        has_begun.set()
        while True:
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        Worker(prepare, is_over=has_begun.is_set)
    assert not any(thread.name == 'seg_ros worker' for thread in threading.enumerate())


def test_close_waits_for_the_item_in_work_and_gives_up_the_next() -> None:
    gate = Gate()
    worker = Worker(lambda: gate)
    worker.submit('in work')
    gate.has_begun.acquire()
    worker.submit('waiting')
    closing = threading.Thread(target=worker.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    gate.open()
    closing.join()
    assert gate.handled == ['in work']
    assert not any(thread.name == 'seg_ros worker' for thread in threading.enumerate())


def test_clear() -> None:
    gate = Gate()
    worker = Worker(lambda: gate)
    worker.submit('in work')
    gate.has_begun.acquire()
    worker.submit('waiting')
    worker.clear()
    worker.submit('next')
    gate.open(2)
    gate.has_begun.acquire()
    worker.close()
    assert gate.handled == ['in work', 'next']


def test_an_item_is_freed_when_it_is_done() -> None:
    class Item:
        pass

    worker = Worker[object](lambda: lambda item: None)
    item, freed = Item(), threading.Event()
    weakref.finalize(item, freed.set)
    worker.submit(item)
    del item
    assert freed.wait(5)
    worker.close()


def taken(rate_in_hz: float, limit_hz: float, seconds: float = 10.0) -> float:
    """Frames per second that pass."""
    limit = RateLimit()
    n_frames = round(rate_in_hz * seconds)
    return sum(limit.is_due(100 + k / rate_in_hz, limit_hz) for k in range(n_frames)) / seconds


def test_rate_limit() -> None:
    assert taken(30, 0) == 30
    assert taken(30, 100) == 30
    assert abs(taken(30, 20) - 20) < 0.5
    assert abs(taken(30, 7) - 7) < 0.5


def test_rate_limit_does_not_make_up_for_a_pause() -> None:
    limit = RateLimit()
    assert limit.is_due(0, 10)
    assert [limit.is_due(60 + k / 100, 10) for k in range(20)].count(True) == 3
