import pytest
import torch
from torch import Tensor, nn

from seg_ros.training.workarounds import find_gradient_faults, use_float32_where_needed


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
    got = gradients(use_float32_where_needed(layer), x)
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
    use_float32_where_needed(layers)
    assert [type(layer) for layer in layers] == [nn.Conv2d] * 5


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(4, 2, 1)
    )


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(4, 3, 8, 8, generator=generator), torch.randint(2, (4, 8, 8), generator=generator)


def test_two_steps_with_the_same_gradients(network: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    drawn = torch.get_rng_state()

    def step(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(images), labels)

    assert find_gradient_faults(step, step, network, batch) == ''
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_step_that_loses_gradients_or_turns_them_is_found(
    network: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    def step(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(images), labels)

    def losing(images: Tensor, labels: Tensor) -> Tensor:
        inner = network[:4](images).detach()
        return nn.functional.cross_entropy(network[4](inner), labels)

    def turning(images: Tensor, labels: Tensor) -> Tensor:
        return -step(images, labels)

    lost = find_gradient_faults(losing, step, network, batch)
    assert lost.startswith('3 of 6 tensors get no gradient, such as 0.weight')
    assert find_gradient_faults(turning, step, network, batch).startswith('cosine -')
