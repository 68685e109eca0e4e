import numpy as np
import pytest

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ImageError, ParameterError
from seg_ros.segments import slic as slic_module
from seg_ros.segments import small_parts
from seg_ros.segments.blocks import blocks, grid_shape
from seg_ros.segments.registry import SUPERPIXELS
from seg_ros.segments.seeds import seeds
from seg_ros.segments.slic import slic


def scene(height: int = 60, width: int = 80) -> UInt8Array:
    """Four flat quarters with noise."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (200, 60, 40), np.uint8)
    image[height // 2 :, : width // 2] = (30, 160, 60)
    image[: height // 2, width // 2 :] = (20, 40, 200)
    image[height // 2 :, width // 2 :] = (230, 230, 210)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


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


@pytest.mark.parametrize('name', SUPERPIXELS)
@pytest.mark.parametrize('size', [(60, 80), (7, 5), (1, 1), (33, 200)])
def test_every_superpixel_is_one_connected_part(name: str, size: tuple[int, int]) -> None:
    regions = SUPERPIXELS[name](scene(*size), region_size=10)
    assert regions.ids.shape == size
    assert np.array_equal(np.unique(regions.ids), np.arange(regions.n))
    assert all(parts(regions.ids == k) == 1 for k in range(regions.n))


def test_slic_keeps_to_edges() -> None:
    image = scene()
    ids = slic(image, region_size=9).ids  # 9 does not divide the quarters
    quarter = 2 * (np.arange(60) >= 30)[:, None] + (np.arange(80) >= 40)
    crossing = 0
    for k in np.unique(ids):
        crossing += (ids == k).sum() - np.bincount(quarter[ids == k]).max()
    assert crossing <= 8
    assert slic(image, region_size=20).n == 12


def test_one_colour_gives_a_grid() -> None:
    regions = slic(np.full((40, 60, 3), 90, np.uint8), region_size=10)
    assert regions.n == 24
    assert np.bincount(regions.ids.ravel()).min() > 60


def test_compact_superpixels_have_shorter_borders() -> None:
    image = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)

    def n_edges(compactness: float) -> int:
        ids = slic(image, region_size=10, compactness=compactness).ids
        return int((ids[1:] != ids[:-1]).sum() + (ids[:, 1:] != ids[:, :-1]).sum())

    assert n_edges(1000) < n_edges(100)


@pytest.mark.parametrize('n_threads', [2, 3, 5])
def test_threads_change_nothing(n_threads: int) -> None:
    image = scene(61, 83)
    alone, together = slic(image, n_threads=1), slic(image, n_threads=n_threads)
    assert (alone.ids == together.ids).mean() > 0.99  # sums are added up in another order


def test_numpy_does_what_the_compiled_loops_do(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(50, 70)
    compiled = slic(image, region_size=8, n_threads=1)
    for module in (slic_module, small_parts):
        monkeypatch.setattr(module, 'import_kernels', lambda *_: None)
    plain = slic(image, region_size=8, n_threads=1)
    assert plain.n == pytest.approx(compiled.n, abs=2)
    assert (np.diff(plain.ids, axis=0) != 0).mean() == pytest.approx(
        (np.diff(compiled.ids, axis=0) != 0).mean(), rel=0.02
    )


@pytest.mark.parametrize('size', [(50, 70), (37, 23), (3, 4), (1, 1), (5, 200)])
@pytest.mark.parametrize('n_colours', [2, 256])
def test_first_centres_are_the_flattest_pixels_around_a_grid(size: tuple[int, int], n_colours: int) -> None:
    """Of equally flat ones the middle, then the first; compiled, and with NumPy."""
    planes = np.random.default_rng(n_colours).integers(0, n_colours, (3, *size)).astype(np.float32)
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), 'edge')
    gradient = ((padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) ** 2).sum(0)
    gradient += ((padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) ** 2).sum(0)
    plain = slic_module._initial_centres(planes, 5, slic_module._find_centres)
    n_rows, n_columns = grid_shape(*size, 5)
    assert len(plain) == n_rows * n_columns
    for n, (*colour, y, x) in enumerate(plain.tolist()):
        y, x = int(y), int(x)
        row = int((n // n_columns + 0.5) * size[0] / n_rows)
        column = int((n % n_columns + 0.5) * size[1] / n_columns)
        near = gradient[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert max(abs(y - row), abs(x - column)) <= 1
        assert gradient[y, x] == near.min()
        assert colour == planes[:, y, x].tolist()
        if gradient[row, column] == near.min():
            assert (y, x) == (row, column)
    kernels = pytest.importorskip('seg_ros.segments.kernels')
    found = slic_module._initial_centres(planes, 5, kernels.find_centres)
    np.testing.assert_array_equal(found, plain)


def test_small_parts_join_their_likest_neighbour() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    image[10:12, 26:30] = 180  # a speck on the dark side of the edge
    ids = slic(image, region_size=20).ids
    assert ids[11, 28] == ids[11, 31] != ids[11, 24]


def test_seeds_exchange_blocks_until_they_keep_to_edges() -> None:
    truth = np.zeros((64, 64), int)
    truth[:, 27:] = 1  # through the middle of blocks of 16 pixels
    image = np.array([[200, 40, 40], [40, 60, 200]], np.uint8)[truth]
    image = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)

    def n_wrong(ids: np.ndarray) -> int:
        table = np.zeros((ids.max() + 1, 2), int)
        np.add.at(table, (ids.ravel(), truth.ravel()), 1)
        return int(table.min(1).sum())

    assert n_wrong(blocks(image, region_size=16).ids) == 64 * 5
    assert n_wrong(seeds(image, region_size=16).ids) < 20


def test_bad_input_is_told() -> None:
    with pytest.raises(ParameterError, match='n_iterations 0'):
        seeds(scene(), n_iterations=0)
    with pytest.raises(ImageError, match=r'\(5, 5\).*uint8.*expected \(H, W, 3\)'):
        slic(np.zeros((5, 5), np.uint8))
    with pytest.raises(ImageError, match='float64'):
        blocks(np.zeros((5, 5, 3)))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match='region_size is 1'):
        slic(scene(), region_size=1)
    with pytest.raises(ParameterError, match='compactness 0'):
        slic(scene(), compactness=0)
