import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seg_ros.networks.graph.cost import LayerCost
from seg_ros.networks.graph.measure import (
    LatencyModel,
    measure_latency,
    measure_layers,
    process_memory,
    with_latency,
)

EXAMPLE = torch.zeros(1, 3, 10, 20)


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
