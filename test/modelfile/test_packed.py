import copy

import pytest
import torch
from torch import nn

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.packed import pack_network, rounded_to_file, unpack_network
from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.channels import remove, trace_channels
from seg_ros.networks.registry import MODELS

EXAMPLE = torch.zeros(1, 3, 64, 64)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    net = MODELS[name](3)
    for _ in range(3):
        net(torch.randn(2, 3, 64, 64))
    return net.eval()


@pytest.mark.parametrize('kind', ['int8', 'int4', 'shared'])
@pytest.mark.parametrize('name', ['enet', 'segnet_small', 'squeezenet_pyramid'])
def test_a_rounded_network_comes_back_to_the_bit(name: str, kind: str) -> None:
    net = network(name)
    kept = rounded_to_file(net, kind, EXAMPLE, n_bits=6)
    data = pack_network(kept, kind)
    with torch.device('meta'):
        empty = MODELS[name](3)
    state = unpack_network(data, empty, is_pruned=False)
    for key, value in kept.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(state[key], value), key
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        want, got = net(x), kept(x)
    tolerance = {'int8': 0.01, 'shared': 0.05, 'int4': 1.0}[kind]
    assert (want - got).square().mean() < tolerance * want.var()
    assert len(data) < 4 * sum(p.numel() for p in net.parameters()) / 3


def test_rounding_twice_is_rounding_once() -> None:
    for kind in ('int8', 'shared'):
        once = rounded_to_file(network('enet'), kind, EXAMPLE, n_bits=5)
        assert pack_network(rounded_to_file(once, kind, EXAMPLE, n_bits=5), kind) == pack_network(once, kind)


def test_channels_of_very_different_scales_share_values() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.logspace(-3, 0, 16))
        x = torch.randn(1, 3, 64, 64)
        want, got = net(x), rounded_to_file(net, 'shared', EXAMPLE, n_bits=5)(x)
    error, size = (want - got).square().mean((0, 2, 3)), want.square().mean((0, 2, 3))
    assert (error < 0.01 * size).all()


@pytest.mark.parametrize('kind', ['int4', 'shared'])
def test_depthwise_layers_keep_eight_bits(kind: str) -> None:
    """Each of their few weights decides much. The layer beside them has what was asked for."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, groups=64)).eval()
    kept = rounded_to_file(net, kind, EXAMPLE, n_bits=4)
    before, after = ([layer.weight.detach() for layer in layers] for layers in (net, kept))
    error = [float((a - b).norm() / a.norm()) for a, b in zip(before, after, strict=True)]
    assert error[1] < 0.01 < 0.03 < error[0]
    state = unpack_network(pack_network(kept, kind), copy.deepcopy(net), is_pruned=False)
    assert torch.equal(state['1.weight'], after[1])
    assert len(after[0].unique()) <= 15 * (64 if kind == 'int4' else 1) + 1


def test_a_network_that_was_not_rounded_is_refused() -> None:
    with pytest.raises(ModelFileError, match='would change'):
        pack_network(network('segnet_small'), 'int8')


def test_pruned_shapes_need_metadata_of_pruning() -> None:
    net = network('enet')
    units = trace_channels(net, EXAMPLE).units
    remove(net, [unit for unit in units if unit.layer == 'stage2.0.extension.0'][:5])
    data = pack_network(rounded_to_file(net, 'int8', EXAMPLE), 'int8')
    with torch.device('meta'):
        empty, full = ENet(3), ENet(3)
    with pytest.raises(ModelFileError, match='its architecture has'):
        unpack_network(data, full, is_pruned=False)
    state = unpack_network(data, empty, is_pruned=True)
    assert state['stage2.0.extension.0.weight'].shape[0] == 27
    assert empty.state_dict()['stage2.0.extension.0.weight'].shape[0] == 27
