import pytest
import torch
from torch import Tensor, nn

from seg_ros.train.guards import guard_convolutions


def depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)


def gradients(layer: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """Of the sum of squares, as learning under autocast computes them."""
    x = x.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=layer.weight.dtype != torch.float64):
        y = layer(x)
    y.double().square().sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    return [x.grad, layer.weight.grad]


@pytest.mark.parametrize(
    'layer',
    [
        nn.Conv2d(24, 24, 3, padding=2, dilation=2),
        depthwise(24, 3, 2),
        depthwise(24, 5, 1),
        depthwise(24, 5, 2),
    ],
    ids=str,
)
def test_guarded_convolutions_have_the_gradients_of_float32(layer: nn.Conv2d) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 24, 20, 28).contiguous(memory_format=torch.channels_last)
    got = gradients(guard_convolutions(layer), x)
    plain = nn.Conv2d(24, 24, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    plain.load_state_dict(layer.state_dict())
    exact = gradients(plain.double(), x.double())
    for this, expected in zip(got, exact, strict=True):
        assert (this - expected).abs().max() < 1e-4 * expected.abs().max()


def test_all_others_learn_as_autocast_has_them() -> None:
    layers = nn.Sequential(
        nn.Conv2d(8, 24, 1),
        depthwise(24, 3, 1),
        nn.Conv2d(24, 24, 5, stride=2),
        nn.Conv2d(24, 32, 3, groups=4),
        nn.Conv2d(32, 8, 3, dilation=2),
    )
    guard_convolutions(layers)
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 5
