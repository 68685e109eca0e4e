import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_ros.inference.stamps import Stamp, split_stamp

NOW_S = 1_800_000_000
NOW = NOW_S * 10**9


@pytest.mark.parametrize('behind_s', [0, 0.02, 5, 59, -0.9])
def test_ages(behind_s: float) -> None:
    stamp_ns = NOW - round(behind_s * 1e9)
    stamp = Stamp.judged(stamp_ns // 10**9, stamp_ns % 10**9, NOW)
    assert stamp.problem == ''
    assert stamp.age_ms == pytest.approx(max(1000 * behind_s, 0))


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'now_ns', 'word'),
    [
        (0, 0, NOW, 'no stamp'),
        (0, 1, NOW, '57 years behind'),
        (123, 0, NOW, 'use_sim_time'),
        (NOW_S - 3600 * 5, 0, NOW, '5 hours behind'),
        (NOW_S + 3, 0, NOW, '3.0 s ahead'),
        (2**31 - 1, 0, NOW, 'years ahead'),
        (-5, 0, NOW, '1969-12-31'),
        (-(2**31), 0, NOW, '1901'),
        (NOW_S, 10**9, NOW, 'nanosec is 1000000000'),
        (NOW_S, 2**32 - 1, NOW, 'nanosec'),
        (100, 0, 0, '/clock'),
    ],
)
def test_stamps_of_no_clock_are_told_and_have_no_age(sec: int, nanosec: int, now_ns: int, word: str) -> None:
    stamp = Stamp.judged(sec, nanosec, now_ns)
    assert word in stamp.problem
    assert stamp.age_ms is None


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**62))
def test_any_stamp_is_judged_and_split(sec: int, nanosec: int, now_ns: int) -> None:
    stamp = Stamp.judged(sec, nanosec, now_ns)
    assert stamp.age_ms is None or 0 <= stamp.age_ms <= 60_000
    seconds, rest = split_stamp(stamp.stamp_ns)
    assert -(2**31) <= seconds < 2**31
    assert 0 <= rest < 10**9
