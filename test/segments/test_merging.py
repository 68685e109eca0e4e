import itertools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from seg_ros.segments import merging as compiled_graph

Pairs = list[tuple[int, int]]


@pytest.fixture(params=['compiled', 'plain'])
def graph(request: pytest.FixtureRequest, plain_modules: Callable[..., ModuleType]) -> ModuleType:
    return compiled_graph if request.param == 'compiled' else plain_modules('merging')


def random_pairs(seed: int, n: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in itertools.combinations(range(n), 2) if rng.random() < share]
    return np.array(pairs, np.int32).reshape(-1, 2)


@pytest.mark.parametrize('seed', range(8))
def test_components_are_what_can_be_reached(graph, seed: int) -> None:
    n, pairs = 14, random_pairs(seed, 14, 0.09)
    component, count = graph.join_pairs(n, pairs)
    reach = np.eye(n, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(n):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    assert np.array_equal(component[:, None] == component, reach)
    assert list(dict.fromkeys(component.tolist())) == list(range(count))


def test_small_regions_join_their_likest_neighbour(graph) -> None:
    pairs = np.array([(0, 1), (1, 2), (2, 3)], np.int32)
    sizes, colours = np.array([9, 1, 9, 2], np.int32), np.zeros((4, 3), np.float32)
    colours[:, 1] = 9, 4, 45, 2  # means 1, 4, 5, 1
    region, n = graph.join_small(pairs, np.arange(4, dtype=np.int32), sizes, colours, 3)
    assert (region.tolist(), n) == ([0, 1, 1, 1], 2)


def test_alone_nothing_joins(graph) -> None:
    none = np.zeros((0, 2), np.int32)
    one, colour = np.ones(1, np.int32), np.ones((1, 3), np.float32)
    assert graph.join_small(none, np.zeros(1, np.int32), one, colour, 50)[1] == 1
    assert graph.join_pairs(3, none)[1] == 3
    sizes, limit, zero = one.astype(np.float32), np.float32(1), np.float32(0)
    assert graph.join_alike(none, none[:, 0], colour, sizes, True, limit, zero, zero)[1] == 1


def slow_join(
    pairs: Pairs,
    lengths: np.ndarray,
    sums: np.ndarray,
    sizes: np.ndarray,
    binary: bool,
    limit: float,
    power: float,
    border_share: float,
) -> list[set[int]]:
    """Look at all touching groups, join the nearest two, start again."""
    first = sums / sizes[:, None]
    first = (first > 0).astype(float) if binary else first
    groups = [{k} for k in range(len(sizes))]
    while True:
        best = None
        for i, j in itertools.combinations(range(len(groups)), 2):
            if not any(
                (a in groups[i]) != (b in groups[i]) and {a, b} <= groups[i] | groups[j] for a, b in pairs
            ):
                continue
            size = [sizes[list(g)].sum() for g in (groups[i], groups[j])]
            mean = [sums[list(g)].sum(0) / s for g, s in zip((groups[i], groups[j]), size, strict=True)]
            mean = [(m > 0).astype(float) for m in mean] if binary else mean
            along = [k for k, (a, b) in enumerate(pairs) if {a, b} <= groups[i] | groups[j]]
            along = [k for k in along if (pairs[k][0] in groups[i]) != (pairs[k][1] in groups[i])]
            there = [np.abs(first[pairs[k][0]] - first[pairs[k][1]]).mean() for k in along]
            apart = (1 - border_share) * np.abs(mean[0] - mean[1]).mean()
            apart += border_share * np.average(there, weights=lengths[along])
            apart = round(float(apart), 6) * (2 * size[0] * size[1] / sum(size)) ** power
            if apart <= limit and (best is None or apart < best[0]):
                best = apart, i, j
        if best is None:
            return groups
        groups[best[1]] |= groups.pop(best[2])


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('power', [0.0, 0.5])
@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('binary', [False, True])
def test_the_likest_join_first(graph, seed: int, power: float, binary: bool, share: float) -> None:
    rng = np.random.default_rng(seed)
    pairs, n = random_pairs(seed, 9, 0.4), 9
    sizes = rng.uniform(0.05, 0.2, n).astype(np.float32)
    sums = (rng.standard_normal((n, 64)) * sizes[:, None]).astype(np.float32)
    limit = 0.9 * float(np.abs(sums[0] / sizes[0] - sums[1] / sizes[1]).mean()) if not binary else 0.4
    limit *= 0.1**power
    lengths = rng.integers(1, 9, len(pairs)).astype(np.int32)
    expected = slow_join(pairs.tolist(), lengths, sums, sizes, binary, limit, power, share)
    numbers = np.float32(limit), np.float32(power), np.float32(share)
    region, count = graph.join_alike(pairs, lengths, sums.copy(), sizes.copy(), binary, *numbers)
    assert sorted(map(sorted, expected)) == [np.flatnonzero(region == k).tolist() for k in range(count)]
