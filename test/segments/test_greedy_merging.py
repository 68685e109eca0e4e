"""Greedy merging, against a slow search for the best pair, compiled and plain."""

import itertools
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from seg_ros.segments import greedy_merging as compiled_module

Pairs = list[tuple[int, int]]


@pytest.fixture(params=['compiled', 'plain'])
def greedy_merging(request: pytest.FixtureRequest, plain_modules: Callable[..., ModuleType]) -> ModuleType:
    return compiled_module if request.param == 'compiled' else plain_modules('union_find', 'greedy_merging')


def random_pairs(seed: int, n: int, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in itertools.combinations(range(n), 2) if rng.random() < share]
    return np.array(pairs, np.int32).reshape(-1, 2)


def test_a_region_without_neighbours_stays(greedy_merging: ModuleType) -> None:
    none, sums, size = np.zeros((0, 2), np.int32), np.ones((1, 3), np.float32), np.ones(1, np.float32)
    limit, zero = np.float32(1), np.float32(0)
    assert greedy_merging.merge_most_similar(none, none[:, 0], sums, size, True, limit, zero, zero)[1] == 1


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
def test_the_likest_join_first(greedy_merging, seed: int, power: float, binary: bool, share: float) -> None:
    rng = np.random.default_rng(seed)
    pairs, n = random_pairs(seed, 9, 0.4), 9
    sizes = rng.uniform(0.05, 0.2, n).astype(np.float32)
    sums = (rng.standard_normal((n, 64)) * sizes[:, None]).astype(np.float32)
    limit = 0.9 * float(np.abs(sums[0] / sizes[0] - sums[1] / sizes[1]).mean()) if not binary else 0.4
    limit *= 0.1**power
    lengths = rng.integers(1, 9, len(pairs)).astype(np.int32)
    expected = slow_join(pairs.tolist(), lengths, sums, sizes, binary, limit, power, share)
    numbers = np.float32(limit), np.float32(power), np.float32(share)
    region, count = greedy_merging.merge_most_similar(
        pairs, lengths, sums.copy(), sizes.copy(), binary, *numbers
    )
    assert sorted(map(sorted, expected)) == [np.flatnonzero(region == k).tolist() for k in range(count)]
