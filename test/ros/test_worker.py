import threading
import weakref
from collections.abc import Callable

from seg_ros.ros.worker import Mailbox, RateLimit, Worker


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


def started(prepare: Callable[[], Callable[[object], None]], mailbox: Mailbox[object]) -> Worker[object]:
    worker = Worker(prepare, mailbox, lambda: None)
    worker.start()
    assert worker.wait(5)
    return worker


def test_newest_wins() -> None:
    gate, mailbox = Gate(), Mailbox[object]()
    worker = started(lambda: gate, mailbox)
    assert not mailbox.submit('first')
    gate.has_begun.acquire()
    assert [mailbox.submit(item) for item in ('second', 'third', 'fourth')] == [False, True, True]
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

    mailbox = Mailbox[object]()
    worker = Worker(prepare, mailbox, note)
    worker.start()
    mailbox.submit('item')
    while len(threads) < 3:
        pass
    worker.close()
    assert threads == ['seg_ros worker'] * 3


def test_the_error_of_a_preparation_is_kept() -> None:
    def prepare() -> Callable[[object], None]:
        raise ValueError('no such model')

    has_ended = threading.Event()
    worker = Worker(prepare, Mailbox[object](), has_ended.set)
    assert has_ended.wait(5)
    assert worker.is_prepared
    assert isinstance(worker.error, ValueError)
    worker.close()


def test_close_does_not_wait_for_a_preparation() -> None:
    may_end = threading.Event()

    def prepare() -> Callable[[object], None]:
        may_end.wait()
        return lambda item: None

    worker = Worker(prepare, Mailbox[object](), lambda: None)
    worker.close()
    assert worker.is_alive()
    may_end.set()
    assert worker.wait(5)
    worker.close()
    assert not worker.is_alive()


def test_close_waits_for_the_item_in_work_and_takes_no_other() -> None:
    gate, mailbox = Gate(), Mailbox[object]()
    worker = started(lambda: gate, mailbox)
    mailbox.submit('in work')
    gate.has_begun.acquire()
    mailbox.submit('waiting')
    closing = threading.Thread(target=worker.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    gate.open()
    closing.join()
    assert gate.handled == ['in work']
    assert not worker.is_alive()


def test_a_worker_takes_over_between_two_items() -> None:
    first, second, mailbox = Gate(), Gate(), Mailbox[object]()
    before = started(lambda: first, mailbox)
    mailbox.submit('in work')
    first.has_begun.acquire()
    after = Worker(lambda: second, mailbox, lambda: None)
    assert after.wait(5)
    mailbox.submit('waiting')
    after.start(after=before)
    assert not second.has_begun.acquire(timeout=0.05), 'the item in work comes first'
    first.open()
    assert second.has_begun.acquire(timeout=5)
    second.open()
    assert not before.is_alive()
    after.close()
    assert (first.handled, second.handled) == (['in work'], ['waiting'])


def test_a_retired_preparation_takes_nothing() -> None:
    gate, mailbox, may_end = Gate(), Mailbox[object](), threading.Event()

    def prepare() -> Callable[[object], None]:
        may_end.wait()
        return gate

    worker = Worker(prepare, mailbox, lambda: None)
    worker.retire()
    mailbox.submit('waiting')
    may_end.set()
    assert worker.wait(5)
    worker.close()
    assert gate.handled == []


def test_clear() -> None:
    gate, mailbox = Gate(), Mailbox[object]()
    worker = started(lambda: gate, mailbox)
    mailbox.submit('in work')
    gate.has_begun.acquire()
    mailbox.submit('waiting')
    mailbox.clear()
    mailbox.submit('next')
    gate.open(2)
    gate.has_begun.acquire()
    worker.close()
    assert gate.handled == ['in work', 'next']


def test_an_item_is_freed_when_it_is_done() -> None:
    class Item:
        pass

    mailbox = Mailbox[object]()
    worker = started(lambda: lambda item: None, mailbox)
    item, freed = Item(), threading.Event()
    weakref.finalize(item, freed.set)
    mailbox.submit(item)
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


def test_rate_limit_follows_a_change_at_once() -> None:
    limit = RateLimit()
    assert limit.is_due(0, 0.001)
    assert not limit.is_due(0.03, 0.001)
    assert [limit.is_due(0.06 + k / 1000, 30) for k in range(30)].count(True) in (1, 2)
    assert limit.is_due(0.1, 0)
    assert not limit.is_due(1e9, 1e-300)
    assert limit.is_due(1e9 + 1, 30)
