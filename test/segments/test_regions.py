import numpy as np
import pytest
import torch

from seg_ros.errors import ImageError
from seg_ros.segments import regions as geometry
from seg_ros.segments.regions import (
    Regions,
    connected_parts,
    find_borders,
    region_means,
    region_shapes,
    score_means,
)


def random_regions(seed: int, shape: tuple[int, int] = (23, 31), n: int = 9) -> Regions:
    ids = np.random.default_rng(seed).integers(0, n, shape).astype(np.int32)
    ids.flat[:n] = np.arange(n)
    return Regions(ids, n)


@pytest.fixture(params=['compiled', 'plain'])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == 'plain':
        monkeypatch.setattr(geometry, 'import_kernels', lambda *_: None)


def parts(mask: np.ndarray) -> int:
    """Connected parts, found slowly."""
    todo, found = set(map(tuple, np.argwhere(mask))), 0
    while todo:
        found += 1
        stack = [todo.pop()]
        while stack:
            y, x = stack.pop()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in todo:
                    todo.remove(near)
                    stack.append(near)
    return found


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('seed', range(30))
def test_parts_are_connected_and_numbered_as_they_are_met(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (12, 15)).astype(np.int32)
    regions = connected_parts(labels)
    assert regions.n == sum(parts(labels == k) for k in range(3))
    for k in range(regions.n):
        inside = regions.ids == k
        assert parts(inside) == 1
        assert len(np.unique(labels[inside])) == 1
    firsts = [int(np.flatnonzero(regions.ids == k)[0]) for k in range(regions.n)]
    assert firsts == sorted(firsts)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('n', [1, 2, 9, 60])
def test_borders_are_all_pairs_that_touch(n: int) -> None:
    regions = random_regions(n, n=n)
    counts: dict[tuple[int, int], int] = {}
    ids = regions.ids.tolist()
    for y in range(23):
        for x in range(31):
            for dy, dx in ((0, 1), (1, 0)):
                if y + dy < 23 and x + dx < 31 and ids[y][x] != ids[y + dy][x + dx]:
                    a, b = sorted((ids[y][x], ids[y + dy][x + dx]))
                    counts[a, b] = counts.get((a, b), 0) + 1
    borders = find_borders(regions)
    found = {(int(a), int(b)): int(k) for (a, b), k in zip(borders.pairs, borders.lengths, strict=True)}
    assert found == counts


@pytest.mark.usefixtures('way')
def test_shapes_are_those_of_the_pixels() -> None:
    regions = random_regions(3)
    shapes = region_shapes(regions)
    for k in range(regions.n):
        y, x = np.nonzero(regions.ids == k)
        assert shapes.areas[k] == len(y)
        assert shapes.boxes[k].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        np.testing.assert_allclose(shapes.centroids[k], [x.mean(), y.mean()])


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('size', [(23, 31), (6, 8), (1, 1), (46, 70)])
def test_means_are_those_of_the_upsampled_values(size: tuple[int, int]) -> None:
    regions = random_regions(4)
    values = np.random.default_rng(0).standard_normal((*size, 5)).astype(np.float32)
    maps = torch.from_numpy(values).permute(2, 0, 1)[None]
    full = torch.nn.functional.interpolate(maps, (23, 31), mode='bilinear')[0].numpy()
    expected = np.stack([full[:, regions.ids == k].mean(1) for k in range(regions.n)])
    for n_threads in (1, 3):
        np.testing.assert_allclose(region_means(values, regions, n_threads), expected, atol=1e-5)


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('n_channels', [1, 3, 11])
def test_means_over_long_runs(n_channels: int) -> None:
    ids = (np.arange(7)[:, None] // 3 * 2 + (np.arange(61) > 19)).astype(np.int32)
    values = np.random.default_rng(1).standard_normal((7, 61, n_channels)).astype(np.float32)
    expected = np.stack([values[ids == k].mean(0) for k in range(6)])
    np.testing.assert_allclose(region_means(values, Regions(ids, 6), 2), expected, atol=1e-5)


def test_renamed_regions_are_as_if_made_anew() -> None:
    regions, names = random_regions(5), np.array([3, 2, 1, 0, 0, 1, 2, 3, 3], np.int32)
    renamed = regions.renamed(names, 4)
    assert np.array_equal(renamed.ids, names[regions.ids])
    assert np.array_equal(renamed.runs.starts, Regions(renamed.ids, 4).runs.starts)
    assert renamed.sizes.tolist() == np.bincount(renamed.ids.ravel()).tolist()


def test_values_of_another_kind_are_refused() -> None:
    with pytest.raises(ImageError, match='float64'):
        region_means(np.zeros((2, 2, 3)), random_regions(0))  # type: ignore[arg-type]


@pytest.mark.usefixtures('way')
@pytest.mark.parametrize('n', [2, 9, 300])
@pytest.mark.parametrize('n_threads', [1, 3])
def test_means_of_folded_scores_are_those_of_the_pixels(n: int, n_threads: int) -> None:
    """Whatever the order in memory."""
    regions, rng = random_regions(n, (24, 32), n), np.random.default_rng(n)
    scores = rng.normal(size=(5, 24, 32)).astype(np.float32)
    expected = np.array([[plane[regions.ids == k].mean() for plane in scores] for k in range(n)])
    planes = scores.reshape(5, 12, 2, 16, 2)
    in_blocks = planes.transpose(1, 3, 0, 2, 4).copy().transpose(2, 0, 3, 1, 4)
    for given in (scores, planes, in_blocks):
        np.testing.assert_allclose(score_means(given, regions, n_threads), expected, rtol=1e-4, atol=1e-5)


def test_a_folded_score_that_is_not_finite_spoils_its_own_region_alone() -> None:
    pytest.importorskip('seg_ros.segments.kernels')
    regions = Regions(np.arange(24 * 32, dtype=np.int32).reshape(24, 32) // 2, 24 * 16)
    for y, x in ((11, 17), (10, 16)):
        in_blocks = np.zeros((12, 16, 5, 2, 2), np.float32)
        in_blocks[y // 2, x // 2, 3, y % 2, x % 2] = np.nan
        means = score_means(in_blocks.transpose(2, 0, 3, 1, 4), regions)
        assert np.argwhere(np.isnan(means)).tolist() == [[y * 16 + x // 2, 3]]
