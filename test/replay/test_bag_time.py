import pytest

from seg_ros.replay import bag_time
from seg_ros.replay.bag_time import BagTime


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Real time in seconds, which the test sets."""
    now = [100.0]
    monkeypatch.setattr(bag_time.time, 'monotonic', lambda: now[0])
    return now


def test_it_stands_until_it_is_started(now: list[float]) -> None:
    clock = BagTime(5_000_000_000, rate=2.0)
    now[0] = 103.0
    assert clock.now_ns() == 5_000_000_000
    clock.go()
    now[0] = 104.5
    clock.go()  # does nothing, it runs
    assert clock.now_ns() == 8_000_000_000
    assert clock.seconds_until(9_000_000_000) == pytest.approx(0.5)
    assert clock.seconds_until(7_000_000_000) == pytest.approx(-0.5)


def test_it_stands_again_when_told(now: list[float]) -> None:
    clock = BagTime(0, rate=1.0)
    clock.go()
    now[0] = 101.0
    clock.stand_at(7)
    now[0] = 102.0
    assert clock.now_ns() == 7
    clock.go()
    now[0] = 103.0
    assert clock.now_ns() == 1_000_000_007
