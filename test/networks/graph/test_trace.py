import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import UnavailableError
from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.trace import trace_network


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_what_ran_where() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    trace = trace_network(network, torch.zeros(2, 3, 5, 6))
    ran = [(o.module, o.name) for o in trace.operations if o.results and o.results[0].numel()]
    assert ran == [('0', 'convolution'), ('1.0', 'native_batch_norm'), ('1.1', 'relu')]
    assert [call.name for call in trace.calls] == ['0', '1.0', '1.1', '1']
    assert trace.macs_per_value() == {'0.weight': 2 * 5 * 6}
    assert [tuple(t.shape) for t in trace.outputs] == [(2, 4, 5, 6)]


def test_views_move_nothing() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.view(1, -1)[:, :4], x.flatten(1)[:, 4:]], 1) + 1

    views = [(o.name, o.is_view) for o in trace_network(Views(), torch.zeros(1, 2, 2, 2)).operations]
    assert {name for name, is_view in views if not is_view} == {'cat', 'add'}


def test_the_network_stays_as_it_is() -> None:
    network = ENet(3).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace_network(network, torch.zeros(1, 3, 16, 16))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_what_needs_values_is_refused() -> None:
    with pytest.raises(UnavailableError, match=r'Deciding cannot be traced .*\(1, 3, 4, 4\)'):
        trace_network(Deciding(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(UnavailableError, match='Conv2d'):
        trace_network(nn.Conv2d(4, 1, 1), torch.zeros(1, 3, 4, 4))
