import numpy as np
import pytest

from seg_ros.errors import ParameterError
from seg_ros.segments.history import CodeHistory, Sighting

BOOK = 'abc'


def code(value: int) -> np.ndarray:
    return np.array([value & 255, value >> 8], np.uint8)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


@pytest.fixture
def history() -> CodeHistory:
    history = CodeHistory(BOOK, 16)
    history.add(10, np.stack([code(0), code(0b1)]), numbers(7, 8))
    history.add(20, np.stack([code(0b111), code(0)]), numbers(9, 7))
    return history


def test_the_nearest_come_first_and_the_latest_of_these(history: CodeHistory) -> None:
    found = history.search(code(0), BOOK, radius=2, count=9)
    assert found == [Sighting(20, 1, 7, 0), Sighting(10, 0, 7, 0), Sighting(10, 1, 8, 1)]
    assert history.search(code(0), BOOK, radius=16, count=1) == [Sighting(20, 1, 7, 0)]
    assert history.search(code(0xFFFF), BOOK, radius=3, count=9) == []


def test_memory_is_bounded() -> None:
    history = CodeHistory(BOOK, 16, n_most=5)
    assert history.search(code(0), BOOK, radius=16, count=3) == []
    for stamp in range(10):
        history.add(stamp, np.stack([code(stamp), code(stamp)]), numbers(1, 2))
        assert len(history) <= 5
    assert {s.stamp_ns for s in history.search(code(0), BOOK, radius=16, count=99)} == {8, 9}
    history.add(99, np.zeros((50, 2), np.uint8), numbers(*range(50)))
    assert len(history) == 5


@pytest.mark.parametrize(
    ('value', 'book', 'radius', 'count', 'message'),
    [
        (code(0), 'xyz', 1, 1, 'codebook xyz.*abc'),
        (code(0), '', 1, 1, r'codebook \(none\)'),
        (np.zeros(4, np.uint8), BOOK, 1, 1, '32 bits; expected 16'),
        (code(0), BOOK, -1, 1, 'radius is -1'),
        (code(0), BOOK, 1, 0, 'count 0'),
    ],
)
def test_what_cannot_be_compared_is_refused(
    history: CodeHistory, value: np.ndarray, book: str, radius: int, count: int, message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        history.search(value, book, radius=radius, count=count)


def test_the_last_frame_can_be_asked(history: CodeHistory) -> None:
    assert np.array_equal(history.code_of(0), code(0b111))
    for segment in (-1, 2):
        with pytest.raises(ParameterError, match=f'2 segments .* id {segment + 1} '):
            history.code_of(segment)
    with pytest.raises(ParameterError, match='0 segments'):
        CodeHistory(BOOK, 16).code_of(0)
