import pytest
import torch
from torch import nn

from seg_ros.errors import UnknownNameError
from seg_ros.networks.graph.channels import remove, trace_channels
from seg_ros.networks.graph.cost import count_bytes, count_macs, count_parameters
from seg_ros.networks.graph.measure import LatencyModel
from seg_ros.networks.graph.savings import savings
from seg_ros.networks.registry import MODELS

SMALL = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
EXAMPLE = torch.zeros(1, 3, 10, 20)


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
