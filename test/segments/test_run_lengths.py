"""Runs of equal ids, against the pixels they stand for, compiled and plain."""

from collections import Counter
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from seg_ros.segments import run_lengths as compiled_runs
from seg_ros.segments.run_lengths import Runs


def image_of(seed: int, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n, (11, 14)).astype(np.int32)


@pytest.fixture(params=['compiled', 'plain'])
def runs(request: pytest.FixtureRequest, plain_modules: Callable[..., ModuleType]) -> ModuleType:
    return compiled_runs if request.param == 'compiled' else plain_modules('run_lengths')


@pytest.mark.parametrize('n', [1, 2, 9])
def test_runs_are_those_of_the_rows(n: int) -> None:
    image = image_of(n, n)
    found = Runs.of(image)
    assert found.rows[0] == 0
    assert found.rows[-1] == len(found.ids) == len(found.lengths)
    for y, row in enumerate(image):
        of_row = slice(found.rows[y], found.rows[y + 1])
        assert np.array_equal(np.repeat(found.ids[of_row], found.lengths[of_row]), row)
        assert (np.diff(found.ids[of_row]) != 0).all()
    assert np.array_equal(found.spread(found.ids), image)


def test_renamed_runs_are_those_of_the_renamed_image() -> None:
    image, names = image_of(4, 6), np.array([2, 0, 1, 1, 0, 2], np.int32)
    before, want = Runs.of(image), Runs.of(names[image])
    got = before.renamed(names[before.ids])
    for one, other in ((got.rows, want.rows), (got.starts, want.starts), (got.ids, want.ids)):
        assert np.array_equal(one, other)
        assert one.dtype == other.dtype == np.int32


@pytest.mark.parametrize('n', [1, 3, 40])
def test_runs_that_touch_share_pixel_edges(runs: ModuleType, n: int) -> None:
    image = image_of(n, n)
    found = Runs.of(image)
    of_pixel = found.spread(np.arange(len(found.ids)))
    edges: Counter[tuple[int, int]] = Counter()
    for one, other in ((of_pixel[:, :-1], of_pixel[:, 1:]), (of_pixel[:-1], of_pixel[1:])):
        edges.update((int(a), int(b)) for a, b in zip(one.ravel(), other.ravel(), strict=True) if a != b)
    alike, unlike, lengths = runs.touching_runs(found.rows, found.starts, found.ids)
    got = {(int(a), int(b)): int(k) for (a, b), k in zip(unlike, lengths, strict=True)}
    assert got == {pair: k for pair, k in edges.items() if found.ids[pair[0]] != found.ids[pair[1]]}
    assert {tuple(pair) for pair in alike.tolist()} == set(edges) - set(got)
