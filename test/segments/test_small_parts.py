"""Small regions join a neighbour, compiled and plain."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from seg_ros.segments import small_parts as compiled_module


@pytest.fixture(params=['compiled', 'plain'])
def small_parts(request: pytest.FixtureRequest, plain_modules: Callable[..., ModuleType]) -> ModuleType:
    return compiled_module if request.param == 'compiled' else plain_modules('union_find', 'small_parts')


def test_small_regions_join_their_likest_neighbour(small_parts) -> None:
    pairs = np.array([(0, 1), (1, 2), (2, 3)], np.int32)
    sizes, colours = np.array([9, 1, 9, 2], np.int32), np.zeros((4, 3), np.float32)
    colours[:, 1] = 9, 4, 45, 2  # means 1, 4, 5, 1
    region, n = small_parts.absorb_small(pairs, np.arange(4, dtype=np.int32), sizes, colours, 3)
    assert (region.tolist(), n) == ([0, 1, 1, 1], 2)


def test_a_region_without_neighbours_stays(small_parts: ModuleType) -> None:
    none, one, colour = np.zeros((0, 2), np.int32), np.ones(1, np.int32), np.ones((1, 3), np.float32)
    assert small_parts.absorb_small(none, np.zeros(1, np.int32), one, colour, 50)[1] == 1
