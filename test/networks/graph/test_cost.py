import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.channels import remove, trace_channels
from seg_ros.networks.graph.cost import (
    LEVELS,
    LatencyModel,
    LayerCost,
    count_bytes,
    count_macs,
    count_parameters,
    energy_uj,
    layer_costs,
    measure_latency,
    measure_layers,
    network_cost,
    peak_activation_bytes,
    process_memory,
    savings,
    with_latency,
)
from seg_ros.networks.registry import ENCODERS, MODELS

NETWORKS = {**MODELS, **{name: lambda _n, build=build: build() for name, build in ENCODERS.items()}}


@pytest.mark.parametrize('name', NETWORKS)
def test_operations_are_half_of_what_pytorch_counts(name: str) -> None:
    with torch.device('meta'):
        network = NETWORKS[name](5).eval()
    example = torch.zeros(1, 3, 72, 96, device='meta')
    with FlopCounterMode(display=False) as counter:
        network(example)
    cost = network_cost(network, example)
    layers = layer_costs(network, example)
    assert 2 * cost.n_macs == 2 * count_macs(network, example) == counter.get_total_flops()
    assert sum(layer.n_macs for layer in layers) == cost.n_macs
    assert sum(layer.n_parameters for layer in layers) == cost.n_parameters == count_parameters(network)
    assert sum(layer.n_bytes for layer in layers) == cost.n_bytes
    assert sum(layer.energy_uj for layer in layers) == pytest.approx(cost.energy_uj)
    assert cost.energy_uj == energy_uj(network, example)


def test_products_of_matrices_count_too() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 7))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 2, 2))
    assert 2 * count_macs(network, torch.zeros(1, 3, 2, 2)) == counter.get_total_flops()


SMALL = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
EXAMPLE = torch.zeros(1, 3, 10, 20)


def test_bytes_by_level() -> None:
    kernels, vectors, counter = 4 * 3 * 9 + 2 * 4, 4 + 4 * 4 + 2, 8
    assert count_bytes(SMALL) == 4 * (kernels + vectors) + counter
    assert count_bytes(SMALL, 'fp16') == 2 * (kernels + vectors) + counter
    assert count_bytes(SMALL, 'int8') == kernels + 4 * vectors + counter
    with pytest.raises(UnknownNameError, match='bf16, fp16, fp32, int4, int8'):
        count_bytes(SMALL, 'fp12')


def test_memory_is_that_of_the_worst_moment() -> None:
    places = 10 * 20
    # input 3; while the norm runs its input and its result live, 4 + 4; at the end 4 + 2
    assert peak_activation_bytes(SMALL, EXAMPLE) == 4 * places * 8
    assert peak_activation_bytes(SMALL, EXAMPLE, 'int8') == places * 8

    class Held(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x + 1
            for _ in range(5):
                y = y * 2
            return y + x.view(1, -1).view(x.shape)  # the input lives till here, its views cost nothing

    assert peak_activation_bytes(Held(), EXAMPLE) == 4 * 3 * places * 3


def test_energy_of_one_layer_by_hand() -> None:
    """fp32: operations at 4.6 + 2 * 5 pJ, weights from DRAM at 640, values at 50 as all fits in 1 MB."""
    layer = nn.Conv2d(3, 4, 3, padding=1)
    macs, weights, values = 200 * 108, 108 + 4, 200 * (3 + 4)
    assert energy_uj(layer, EXAMPLE) * 1e6 == pytest.approx(macs * 14.6 + weights * 640 + values * 50)
    int8 = macs * (0.3 + 2 * 5 / 4) + (108 / 4 + 4) * 640 + values / 4 * 50
    assert energy_uj(layer, EXAMPLE, 'int8') * 1e6 == pytest.approx(int8)
    large = torch.zeros(1, 3, 400, 500)
    dram = 1000 * macs * 14.6 + weights * 640 + 1000 * values * 640
    assert energy_uj(layer, large) * 1e6 == pytest.approx(dram)
    assert energy_uj(nn.Sequential(layer, nn.BatchNorm2d(4), nn.ReLU()), EXAMPLE) == energy_uj(layer, EXAMPLE)


def test_levels_need_less_and_less() -> None:
    needs = [energy_uj(SMALL, EXAMPLE, level) for level in ('fp32', 'fp16', 'int8')]
    assert needs == sorted(needs, reverse=True)
    assert LEVELS['fp32'].mac_pj == pytest.approx(4.6)


@pytest.mark.parametrize('kind', ['macs', 'parameters', 'bytes'])
@pytest.mark.parametrize('name', ['enet', 'efficientnet_lite_pyramid'])
def test_savings_are_what_removal_saves(name: str, kind: str) -> None:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, 32, 64)
    count = {'macs': lambda n: count_macs(n, example), 'parameters': count_parameters, 'bytes': count_bytes}[
        kind
    ]
    with torch.device('meta'):
        network = MODELS[name](3)
    channels = trace_channels(network, example)
    saved, before = savings(network, channels, kind), count(network)
    for number in [numbers[0] for numbers in channels.layers.values()][::16]:
        with torch.device('meta'):
            smaller = MODELS[name](3)
        remove(smaller, [channels.units[number]])
        assert float(saved[number]) == pytest.approx(before - count(smaller))


def test_savings_of_traffic() -> None:
    """A channel of 200 places: written and read by each of convolution, norm, ReLU, convolution."""
    channels = trace_channels(SMALL, EXAMPLE)
    assert channels.traffic.tolist() == [4 * 200 * 6] * 4
    model = LatencyModel(2.0, 3.0)
    macs = savings(SMALL, channels, 'macs')
    expected = macs * 2 + channels.traffic * 3
    torch.testing.assert_close(savings(SMALL, channels, 'latency', model=model), expected)
    assert (savings(SMALL, channels, 'energy') > macs * 14.6).all()
    with pytest.raises(UnknownNameError, match=r'latency \(with a model\)'):
        savings(SMALL, channels, 'latency')


class Sleep(nn.Module):
    def __init__(self, ms: float) -> None:
        super().__init__()
        self.ms = ms

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.ms / 1000)
        return x


def test_time_is_that_of_each_module_itself() -> None:
    network = nn.Sequential(Sleep(20), nn.Sequential(Sleep(40), nn.Identity()))
    taken = measure_layers(network, EXAMPLE, repeats=3)
    assert taken['0'] > 19
    assert taken['1.0'] > 39
    assert taken['1'] < taken['1.0']
    assert taken[''] < taken['1.0']
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert measure_latency(lambda: time.sleep(0.005), repeats=3) > 4


def test_a_model_of_latency_is_found_again() -> None:
    rng = np.random.default_rng(0)
    layers = [
        LayerCost(str(i), '', 0, int(rng.integers(1e6, 1e8)), 0, int(rng.integers(1e4, 1e6)), 0.0)
        for i in range(20)
    ]
    times = {c.name: c.n_macs * 2e-7 + c.traffic_bytes * 3e-6 for c in layers}
    model = LatencyModel.fit(with_latency(layers, times))
    assert (model.ms_per_mac, model.ms_per_byte) == pytest.approx((2e-7, 3e-6))
    falling = LatencyModel.fit(with_latency(layers, {c.name: c.traffic_bytes * 3e-6 for c in layers}))
    assert falling.ms_per_mac >= 0
    assert falling.ms_per_byte == pytest.approx(3e-6, rel=0.01)


def test_memory_of_the_process_grows_with_it() -> None:
    before = process_memory()
    block = np.ones(before + (1 << 26), np.uint8)
    assert process_memory() >= before + (1 << 25)
    assert block.size > before > 1 << 24
