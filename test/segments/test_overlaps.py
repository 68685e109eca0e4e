import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seg_ros.errors import ImageError
from seg_ros.segments.overlaps import find_overlaps
from seg_ros.segments.regions import Regions

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
PAIRS_OF_IMAGES = SHAPES.flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.integers(0, 4))] * 2)
)


@given(PAIRS_OF_IMAGES, st.sampled_from([5, 1000]))
def test_overlaps_are_those_that_pixels_count(images: tuple[np.ndarray, np.ndarray], n: int) -> None:
    one, other = images
    found = find_overlaps(Regions(one, n), Regions(other, n))
    expected: dict[tuple[int, int], int] = {}
    for pair in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
        expected[pair] = expected.get(pair, 0) + 1
    assert list(map(tuple, found.pairs.tolist())) == sorted(expected)
    assert found.areas.tolist() == [expected[pair] for pair in sorted(expected)]


def test_sizes_must_agree() -> None:
    with pytest.raises(ImageError, match='shapes'):
        find_overlaps(Regions(np.zeros((2, 3), np.int32), 1), Regions(np.zeros((3, 2), np.int32), 1))
