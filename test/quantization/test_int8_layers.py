import numpy as np
import pytest
import torch
from torch import nn

from seg_ros.quantization.int8_layers import QuantizedConv2d, Rounding, affine


@pytest.mark.parametrize(
    ('low', 'high', 'scale', 'zero_point'),
    [(0.0, 2.55, 0.01, 0), (-1.28, 1.27, 0.01, 128), (0.5, 2.55, 0.01, 0), (-2.55, -1.0, 0.01, 255)],
)
def test_steps_cover_the_range_and_hold_zero(low: float, high: float, scale: float, zero_point: int) -> None:
    assert affine(low, high) == (pytest.approx(scale), zero_point)


def test_a_range_of_nothing_is_no_division_by_zero() -> None:
    scale, zero_point = affine(0.0, 0.0)
    assert scale > 0
    assert zero_point == 0


@pytest.mark.parametrize('padding', [0, 2])
def test_it_computes_what_integers_give(padding: int) -> None:
    """Against a convolution in whole numbers, by hand; the padding is a real zero."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-127, 128, (4, 3, 3, 3))
    scale = rng.uniform(0.01, 0.1, 4).astype(np.float32)
    plain = nn.Conv2d(3, 4, 3, padding=padding, dilation=2)
    quantized = QuantizedConv2d(
        plain, torch.from_numpy(steps.astype(np.int8)), torch.from_numpy(scale), Rounding(-1.0, 2.0)
    )
    x = rng.normal(0, 1, (1, 3, 9, 8)).astype(np.float32)
    with torch.no_grad():
        got = quantized(torch.from_numpy(x)).numpy()

    s, zero = affine(-1.0, 2.0)
    q = np.clip(np.round(x / np.float32(s)) + zero, 0, 255).astype(np.int64) - zero
    q = np.pad(q, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = q.shape[2] - 4, q.shape[3] - 4
    sums = np.zeros((4, height, width), np.int64)
    for i in range(3):
        for j in range(3):
            window = q[0, :, 2 * i : 2 * i + height, 2 * j : 2 * j + width]
            sums += np.einsum('oc,chw->ohw', steps[:, :, i, j], window)
    want = sums * (scale.astype(np.float64) * s)[:, None, None] + plain.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4)
