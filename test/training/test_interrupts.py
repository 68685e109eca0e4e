import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from seg_ros.training.interrupts import raise_if_interrupted, remembered_interrupts


class Swallows:
    """An interrupt in its destructor is printed and forgotten, as Python does there."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)


def interrupt_and_wait() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_an_interrupt_that_a_destructor_swallows_is_not_lost() -> None:
    with remembered_interrupts():
        Swallows()
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted()


def test_an_interrupt_comes_at_once_elsewhere() -> None:
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), remembered_interrupts():
        interrupt_and_wait()
    assert time.monotonic() - started < 4


def test_nothing_is_left_behind() -> None:
    before: Callable[..., object] | int | None = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), remembered_interrupts():
        interrupt_and_wait()
    raise_if_interrupted()
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_does_nothing() -> None:
    done = []

    def run() -> None:
        with remembered_interrupts():
            done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]
