import pytest
import torch
from torch import nn

from seg_ros.training.ema import WeightAverage
from seg_ros.training.schedule import learning_rate, parameter_groups


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [learning_rate(step, 200, 0.01, 0.1) for step in range(200)]
    assert rates[0] == pytest.approx(0.01 / 21)
    assert max(rates) == rates[20] == pytest.approx(0.01)
    assert rates[110] == pytest.approx(0.005)
    assert 0 < rates[-1] < 1e-6
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_without_warmup_the_first_step_is_the_peak() -> None:
    assert learning_rate(0, 10, 0.3, 0.0) == 0.3


def test_only_kernels_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
    kernels, others = parameter_groups(network, 0.1)
    assert [p.shape for p in kernels['params']] == [(4, 3, 3, 3)]
    assert (kernels['weight_decay'], others['weight_decay'], len(others['params'])) == (0.1, 0.0, 4)


def test_average_matches_a_slow_loop() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    average = WeightAverage(network, 0.6)
    expected = {k: v.tolist() for k, v in network.state_dict().items()}
    for step in range(12):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        network(torch.randn(2, 2, 3, 3))
        decay = min(0.6, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            if name.endswith('num_batches_tracked'):
                expected[name] = value.item()
            else:
                old = torch.tensor(expected[name], dtype=torch.float64)
                expected[name] = (decay * old + (1 - decay) * value.double()).tolist()
        average.update(network, step)
    for name, value in average.network.state_dict().items():
        torch.testing.assert_close(
            value.double(), torch.tensor(expected[name]).double(), rtol=1e-5, atol=1e-6
        )
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())
