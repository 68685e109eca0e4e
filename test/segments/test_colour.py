"""Mean colours of regions, against NumPy, with and without compiled loops."""

import numpy as np
import pytest

from seg_ros.segments import colour
from seg_ros.segments.regions import connected_parts


def test_moments_are_means_over_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, (23, 31, 3)).astype(np.uint8)
    regions = connected_parts(rng.integers(0, 3, (23, 31)).astype(np.int32))
    planes = colour.lab_planes(image)
    scaled = (planes - 128) / np.array([64, 32, 32])[:, None, None]
    light, a, b = scaled
    values = np.stack([light, a, b, light**2, a**2, b**2, light * a, light * b, a * b], axis=-1)
    want = np.stack([values[regions.ids == k].mean(0) for k in range(regions.n)])
    for n_threads in (1, 3):
        got = colour.colour_moments(planes, regions, n_threads)
        np.testing.assert_allclose(got, want, atol=1e-4)
    monkeypatch.setattr(colour, 'import_kernels', lambda *_: None)
    np.testing.assert_allclose(colour.colour_moments(planes, regions), want, atol=1e-4)


def test_lab_is_that_of_the_field() -> None:
    grey = colour.lab_planes(np.full((2, 2, 3), 255, np.uint8))
    assert grey[:, 0, 0].tolist() == [255, 128, 128]
