import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.cost import (
    LEVELS,
    count_bytes,
    count_macs,
    count_parameters,
    energy_uj,
    layer_costs,
    network_cost,
    peak_activation_bytes,
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


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_costs_do_not_depend_on_the_dtype_and_change_no_network(dtype: torch.dtype) -> None:
    network = copy.deepcopy(SMALL).to(dtype)
    assert network_cost(network, EXAMPLE) == network_cost(SMALL, EXAMPLE)
    assert count_macs(network, EXAMPLE) == count_macs(SMALL, EXAMPLE)
    assert {p.dtype for p in network.parameters()} == {dtype}
