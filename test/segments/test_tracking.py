import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.segments.regions import Regions
from seg_ros.segments.tracking import Tracker

GROUND, RED, BLUE = [0, 0], [0xF0, 0xFF], [0x0F, 0xFF]


def frame(*squares: int) -> Regions:
    """A square of 6x6 pixels at each column, on a ground: segments 1, 2, ... and 0."""
    ids = np.zeros((10, 40), np.int32)
    for k, column in enumerate(squares, start=1):
        ids[2:8, column : column + 6] = k
    return Regions(ids, len(squares) + 1)


def codes(*rows: list[int]) -> UInt8Array:
    return np.array(rows, np.uint8)


def test_things_that_move_keep_their_number() -> None:
    tracker = Tracker()
    ground, red, blue = tracker(frame(4, 20), codes(GROUND, RED, BLUE)).tolist()
    assert len({ground, red, blue}) == 3
    assert 0 not in (ground, red, blue)
    # The order of the segments is another one, and so are their places.
    assert tracker(frame(22, 6), codes(GROUND, BLUE, RED)).tolist() == [ground, blue, red]


def test_another_look_is_another_thing() -> None:
    tracker = Tracker()
    _, red = tracker(frame(4), codes(GROUND, RED)).tolist()
    assert tracker(frame(4), codes(GROUND, BLUE)).tolist()[1] not in (red, 0)


def test_a_jump_is_another_thing() -> None:
    tracker = Tracker()
    ground, red = tracker(frame(4), codes(GROUND, RED)).tolist()
    again = tracker(frame(30), codes(GROUND, RED)).tolist()
    assert again[0] == ground
    assert again[1] != red


def test_of_two_halves_the_larger_keeps_the_number() -> None:
    tracker = Tracker()
    _, red = tracker(frame(4), codes(GROUND, RED)).tolist()
    ids = frame(4).ids.copy()
    ids[2:8, 8:10] = 2
    small_and_large = tracker(Regions(ids, 3), codes(GROUND, RED, RED)).tolist()
    assert small_and_large[1] == red
    assert small_and_large[2] != red


def test_numbers_are_never_given_twice() -> None:
    tracker, seen = Tracker(), set()
    for step in range(5):
        numbers = tracker(frame(4 if step % 2 else 30), codes(GROUND, RED)).tolist()
        seen.add(numbers[1])
    tracker.forget()
    assert not seen & set(tracker(frame(4), codes(GROUND, RED)).tolist())
    assert len(seen) == 5


def test_another_size_or_codebook_starts_anew() -> None:
    tracker = Tracker()
    before = tracker(frame(4), codes(GROUND, RED)).tolist()
    other = Regions(np.zeros((5, 5), np.int32), 1)
    assert tracker(other, codes(GROUND)).tolist()[0] not in before
    assert tracker(other, np.zeros((1, 4), np.uint8)).tolist()[0] not in before


@pytest.mark.parametrize('wrong', [{'max_distance': 1.5}, {'min_iou': -0.1}])
def test_shares_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=r'0\.\.1'):
        Tracker(**wrong)
