"""The ranking of distances against a plain search."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.mark.parametrize('n', [1, 31, 32, 991, 992, 1023, 1024, 2034])
def test_the_nearest_pair_is_that_of_a_search(
    n: int, plain_modules: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the number of blocks is a multiple of 32: memory that nobody has written decides nothing."""
    ranking = plain_modules('ranking')
    monkeypatch.setattr(np, 'empty', lambda shape, dtype=float: np.full(shape, -7, dtype))
    rng = np.random.default_rng(n)
    distances = rng.random(n).astype(np.float32)
    own = ranking.ranking_of(distances)
    for _ in range(8):
        assert ranking.nearest_pair(*own[1:]) == distances.argmin()
        region = int(rng.integers(n))
        distances[region] = rng.choice(np.float32([0, 0.5, np.inf]))
        own.distances[region] = distances[region]
        ranking.rank_again(*own[1:], np.array([region], np.int32))
