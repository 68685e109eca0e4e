import pytest
import torch
from torch.nn import functional as F

from seg_ros.models.layers import max_pool, max_unpool, pad_to_multiple

SHAPES = [(1, 1, 2, 2), (2, 3, 6, 10), (1, 16, 8, 4)]


@pytest.mark.parametrize('shape', SHAPES)
def test_pool_and_unpool_match_torch_with_gradients(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(shape, dtype=torch.float64)

    pooled, pool_indices = max_pool(x)
    expected, index = F.max_pool2d(y, 2, return_indices=True)
    torch.testing.assert_close(pooled, expected)
    assert pool_indices.dtype == x.dtype

    back = max_unpool(pooled * 3, pool_indices)
    torch.testing.assert_close(back, F.max_unpool2d(expected * 3, index, 2))
    (back * weight).sum().backward()
    (F.max_unpool2d(expected * 3, index, 2) * weight).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_unpool_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(1)
    indices = max_pool(torch.randn(1, 2, 4, 6, dtype=torch.float64))[1]
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: max_unpool(v, indices), (x,))


def test_positions_are_row_and_column_in_the_window() -> None:
    x = torch.zeros(1, 1, 4, 4)
    for k, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        x[0, 0, 2 * (k // 2) + row, 2 * (k % 2) + column] = k + 1
    pooled, indices = max_pool(x)
    assert pooled.flatten().tolist() == [1, 2, 3, 4]
    assert indices.flatten().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(max_unpool(pooled, indices), x)


def test_padding_repeats_the_border() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert padded[0, 0, :, 3].tolist() == [2, 5, 5, 5]
    assert pad_to_multiple(padded, 4) is padded
