import numpy as np
import pytest

from seg_ros.errors import ModelFileError
from seg_ros.modelfile import relative_index


def test_fillers_by_hand() -> None:
    # Zeros between entries: 1, 0, 15, then 16, which takes a filler at place 35, and 40 = 16 + 16 + 8.
    indices, is_real = relative_index.encode(np.array([1, 2, 18, 35, 76]))
    assert indices.tolist() == [1, 0, 15, 15, 0, 15, 15, 8]
    assert is_real.tolist() == [True, True, True, False, True, False, False, True]


@pytest.mark.parametrize('density', [0.0, 0.01, 0.3, 1.0])
def test_decoding_gives_the_positions(density: float) -> None:
    positions = np.flatnonzero(np.random.default_rng(0).random(5000) < density)
    indices, is_real = relative_index.encode(positions)
    assert np.array_equal(relative_index.decode(indices, 5000)[is_real], positions)


def test_positions_end_where_the_array_does() -> None:
    indices, _ = relative_index.encode(np.array([9]))
    assert relative_index.decode(indices, 10).tolist() == [9]
    with pytest.raises(ModelFileError, match='position 9 of 9'):
        relative_index.decode(indices, 9)
