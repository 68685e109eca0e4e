"""The statistics of units against all maps at once."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros.evaluation.units import Correlation, Peak, UnitRecord, match_units


@pytest.fixture(autouse=True, scope='module')
def _one_thread() -> Iterator[None]:
    """Busy machines make short parallel sections slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def many_maps() -> list[Tensor]:
    """Of 30 images of different sizes, some units silent, some values tied."""
    generator = torch.Generator().manual_seed(5)
    sizes = [(4, 6), (5, 3), (2, 9)] * 10
    maps = [torch.randn(7, *size, generator=generator) + 3 for size in sizes]
    for m in maps:
        m[2] = m[2].clamp(min=3.2).round()
        m[4] = 0
    return maps


def test_records_equal_brute_force(many_maps: list[Tensor]) -> None:
    record = UnitRecord(4)
    for maps in many_maps:
        record.add(maps)
    together = torch.cat([m.flatten(1) for m in many_maps], 1).double().numpy()
    np.testing.assert_allclose(record.mean, together.mean(1), rtol=1e-12)
    np.testing.assert_allclose(record.std, together.std(1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(record.sparsity, (together <= 0).mean(1), atol=1e-12)
    for unit in range(7):
        largest = []
        for index, maps in enumerate(many_maps):
            best = max(itertools.product(*map(range, maps.shape[1:])), key=lambda p: float(maps[unit][p]))
            largest.append(Peak(float(maps[unit][best]), index, *best))
        assert record.peaks(unit) == sorted(largest, key=lambda peak: -peak.value)[:4]


def test_memory_does_not_grow() -> None:
    record = UnitRecord(3)
    for index in range(20):
        record.add(torch.full((5, 2, 2), float(index)))
        assert record._values.shape[1] == min(index + 1, 3)
    assert [p.image for p in record.peaks(0)] == [19, 18, 17]


def test_correlation_equals_numpys(many_maps: list[Tensor]) -> None:
    generator = torch.Generator().manual_seed(6)
    mixed = [torch.einsum('cd,chw->dhw', torch.randn(7, 3, generator=generator), m) for m in many_maps]
    correlation = Correlation()
    for one, other in zip(many_maps, mixed, strict=True):
        correlation.add(one, other)
    a, b = (torch.cat([m.flatten(1) for m in part], 1).numpy() for part in (many_maps, mixed))
    alive = [k for k in range(7) if k != 4]
    want = np.corrcoef(a[alive], b)[:6, 6:]
    np.testing.assert_allclose(correlation.matrix()[alive], want, atol=1e-5)
    assert not correlation.matrix()[4].any()


def test_maps_of_other_sizes_correlate() -> None:
    ramp = torch.linspace(0, 1, 16).expand(1, 8, 16)
    correlation = Correlation()
    correlation.add(ramp, 3 * F.interpolate(ramp[None], (4, 8), mode='bilinear')[0] - 5)
    assert correlation.matrix()[0, 0] == pytest.approx(1, abs=0.01)


def test_units_are_matched_in_their_order() -> None:
    rng = np.random.default_rng(0)
    for n, m in [(6, 3), (5, 4), (6, 1), (4, 4), (3, 6)]:
        correlation = rng.uniform(-1, 1, (n, m))
        matched = match_units(correlation)
        assert len(matched) == n
        pairs = [(i, k) for i, k in enumerate(matched) if k is not None]
        assert len(pairs) == min(n, m)
        if n == m:
            assert matched == list(range(n))
            continue
        choices = itertools.product(
            itertools.combinations(range(n), len(pairs)), itertools.combinations(range(m), len(pairs))
        )
        best = max(sum(correlation[i, k] for i, k in zip(a, b, strict=True)) for a, b in choices)
        assert sum(correlation[pair] for pair in pairs) == pytest.approx(best)


def test_removed_units_are_found() -> None:
    generator = torch.Generator().manual_seed(7)
    kept, correlation = [0, 3, 4, 6], Correlation()
    for _ in range(3):
        maps = torch.randn(8, 6, 6, generator=generator)
        correlation.add(maps, maps[kept] + 0.5 * torch.randn(4, 6, 6, generator=generator))
    assert match_units(correlation.matrix()) == [0, None, None, 1, 2, None, 3, None]
