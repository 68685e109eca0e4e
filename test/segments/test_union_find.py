"""Connected components, against reachability, compiled and plain."""

import itertools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from seg_ros.segments import union_find as compiled_module


@pytest.fixture(params=['compiled', 'plain'])
def union_find(request: pytest.FixtureRequest, plain_modules: Callable[..., ModuleType]) -> ModuleType:
    return compiled_module if request.param == 'compiled' else plain_modules('union_find')


def random_pairs(seed: int, n: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in itertools.combinations(range(n), 2) if rng.random() < share]
    return np.array(pairs, np.int32).reshape(-1, 2)


@pytest.mark.parametrize('seed', range(8))
def test_components_are_what_can_be_reached(union_find, seed: int) -> None:
    n, pairs = 14, random_pairs(seed, 14, 0.09)
    component, count = union_find.connected_components(n, pairs)
    reach = np.eye(n, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(n):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    assert np.array_equal(component[:, None] == component, reach)
    assert list(dict.fromkeys(component.tolist())) == list(range(count))


def test_without_edges_every_node_is_a_component(union_find: ModuleType) -> None:
    assert union_find.connected_components(3, np.zeros((0, 2), np.int32))[1] == 3


def test_parts_are_numbered_as_they_are_met(union_find: ModuleType) -> None:
    pairs = np.array([(3, 5), (1, 4), (4, 3)], np.int32)
    of_node, n = union_find.connected_components(7, pairs)
    assert (of_node.tolist(), n) == ([0, 1, 2, 1, 1, 1, 3], 4)
