"""A compiled network that is gone leaves nothing behind, and does not disturb those that run."""

import gc
from collections import Counter

import numpy as np
import pytest
import torch

from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.torch_compiled import CompiledBackend
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation

HELD = {'CompiledFxGraph', 'FakeTensor', 'GraphModule', 'Node', 'Parameter', 'ShapeEnv', 'Tensor'}
"""Classes of what the compilers hold of a network."""


def compiled() -> CompiledBackend:
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3)
    network = FrameNetwork(ImageNetwork(torch.nn.Sequential(*layers), Normalisation())).eval()
    return CompiledBackend(NetworkSource.of(network), (20, 30), 'cpu', 1)


def living() -> dict[str, int]:
    gc.collect()
    names = Counter(type(one).__name__ for one in gc.get_objects())
    return {name: names[name] for name in HELD}


def test_compiled_networks_that_are_gone_leave_nothing_behind() -> None:
    obstacle = CompiledBackend.why_not('cpu', 'float32')
    if obstacle:
        pytest.skip(f'torch_compile {obstacle}')
    running = compiled()
    images = np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3), np.uint8)
    expected = running(images)['scores']
    compiled()
    before = living()
    compiled()
    assert living() == before
    counters = torch._dynamo.utils.counters['stats']
    n_graphs = counters['unique_graphs']
    assert np.array_equal(running(images)['scores'], expected)
    assert counters['unique_graphs'] == n_graphs  # it has not been compiled anew
