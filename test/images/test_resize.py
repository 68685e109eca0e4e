import numpy as np
import pytest
import torch
from torch.nn import functional as F

from seg_ros.images.resize import resize_image


def test_same_size_is_the_same_image() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert resize_image(image, 4, 6) is image


@pytest.mark.parametrize(('height', 'width'), [(37, 51), (20, 30), (90, 40)])
def test_bilinear_as_torch_does_it(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    want = F.interpolate(x, (height, width), mode='bilinear')[0].permute(1, 2, 0).numpy()
    assert np.abs(resize_image(image, height, width) - want).max() <= 1


def test_shrinking_by_half_or_more_averages() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[::4, ::4] = 160
    np.testing.assert_array_equal(resize_image(image, 2, 2), np.full((2, 2, 3), 10))
