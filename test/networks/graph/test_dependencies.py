"""Dependencies that can be checked by eye, and operations that freeze channels."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.channels import ChannelMap, trace_channels


def n_units(network: nn.Module, channels_in: int = 3) -> dict[str, int]:
    """Layer -> units."""
    return {name: len(n) for name, n in trace(network, channels_in).layers.items()}


def trace(network: nn.Module, channels_in: int = 3) -> ChannelMap:
    return trace_channels(network, torch.zeros(1, channels_in, 16, 16))


class Net(nn.Module):
    """Two convolutions read the image; ``between`` makes what the last one reads."""

    def __init__(self, between: str, n_read: int = 4) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(1, 4, 1, 1))
        self.matrix = nn.Parameter(torch.ones(4, 16, 16))
        self.last = nn.Conv2d(n_read, 2, 1)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        made = {
            'alone': lambda: a.relu(),
            'sum': lambda: a.relu() + F.max_pool2d(b, 3, 1, 1),
            'cat': lambda: torch.cat([a, b], 1),
            'scale': lambda: a * self.scale,
            'matrix': lambda: a * self.matrix,
            'softmax': lambda: a.softmax(1),
            'shuffle': lambda: F.pixel_shuffle(a, 2),
            'flip': lambda: a + b.flip(1),
            'constant': lambda: F.pad(a[:, :3], (0, 0, 0, 0, 0, 1)) + b,
            'mean': lambda: a * b.mean((2, 3), keepdim=True),
            'image': lambda: torch.cat([a[:, :1], a[:, 1:] + x], 1),
            'attention': lambda: (a.flatten(2) @ b.flatten(2).transpose(1, 2) @ b.flatten(2)).view(a.shape),
            'in place': lambda: a.add_(b),
            'written': lambda: torch.zeros_like(a).add_(b) + 0 * a,
            'computed kernel': lambda: F.conv2d(a, self.last.weight.repeat(2, 1, 1, 1) * 2),
        }[self.between]()
        return self.last(made)


@pytest.mark.parametrize(
    ('between', 'n_read', 'expected'),
    [
        ('alone', 4, {'a': 4, 'b': 4}),
        ('sum', 4, {'a': 4}),
        ('cat', 8, {'a': 4, 'b': 4}),
        ('scale', 4, {'a': 4, 'b': 4}),
        ('matrix', 4, {'b': 4}),
        ('softmax', 4, {'b': 4}),
        ('shuffle', 1, {'b': 4}),
        ('flip', 4, {'a': 4}),
        (
            'constant',
            4,
            {'a': 3, 'a#2': 1},
        ),  # b's last channel is added to a fixed number of zeros; a's last is not read
        ('mean', 4, {'a': 4}),
        ('image', 4, {'a': 1, 'b': 4}),
        ('attention', 4, {}),
        ('in place', 4, {'a': 4}),
        ('written', 4, {}),
        ('computed kernel', 4, {'b': 4}),
    ],
)
def test_dependent_channels(between: str, n_read: int, expected: dict[str, int]) -> None:
    assert n_units(Net(between, n_read)) == expected


def test_added_channels_depend_by_position() -> None:
    units = trace(Net('flip')).units
    for unit in units:
        kernels = {p.name: p.channel for p in unit.makers if p.name in ('a.weight', 'b.weight')}
        assert kernels['a.weight'] == 3 - kernels['b.weight']


def test_a_scale_belongs_to_its_channel() -> None:
    unit = trace(Net('scale')).units[0]
    assert ('scale', 1, 0) in unit.makers
    assert unit.readers == (('last.weight', 1, 0),)


def test_depthwise_convolutions_keep_channels_apart() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.ConvTranspose2d(8, 8, 2, groups=8),
        nn.Conv2d(8, 2, 1),
    )
    channels = trace(network)
    assert {k: len(v) for k, v in channels.layers.items()} == {'0': 4}
    second = channels.units[1]
    assert {(p.name, p.channel) for p in second.places} == {
        ('0.weight', 1),
        ('0.bias', 1),
        *(('1.weight', c) for c in (2, 3)),
        *(('1.bias', c) for c in (2, 3)),
        *(('2.weight', c) for c in (2, 3)),
        *(('2.bias', c) for c in (2, 3)),
        *(('3.weight', c) for c in (2, 3)),
    }


def test_groups_of_a_convolution_stay_equally_large() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, groups=2, bias=False), nn.Conv2d(4, 2, 1))
    channels = trace(network)
    assert {k: len(v) for k, v in channels.layers.items()} == {'0': 3, '1': 2}
    assert set(channels.units[0].readers) == {('1.weight', 1, 0)}
    assert {p for p in channels.units[0].makers if p.name == '0.weight'} == {
        ('0.weight', 0, 0),
        ('0.weight', 0, 3),
    }
    assert set(channels.units[3].readers) == {('2.weight', 1, 0), ('2.weight', 1, 2)}


def test_dependencies_of_enet() -> None:
    """13 channels pass from the initial block through all stages, as poolings and sums keep positions."""
    channels = trace(ENet(5))
    layers = {name: len(numbers) for name, numbers in channels.layers.items()}
    assert (layers['initial.conv'], layers['down1.extension.4'], layers['down2.extension.4']) == (13, 48, 64)
    first = {p.name for p in channels.units[0].makers}
    assert {
        'initial.conv.weight',
        'stage2.3.extension.4.weight',
        'stage4.1.act.weight',
        'up5.main.0.weight',
    } <= first
    assert {p.name for p in channels.units[0].readers} >= {'full_conv.weight', 'up4.extension.0.weight'}
    assert layers['stage1.2.extension.0'] == 16
    assert layers['stage2.2.extension.2.0'] == 32
    assert layers['up5.extension.2'] == 16
    assert not {'up4.main.0', 'full_conv'} & layers.keys()


def test_kept_maps_keep_their_channels() -> None:
    network = ENet(5)
    kept = trace_channels(network, torch.zeros(1, 3, 16, 16), keep=['stage1'])
    assert {'down1.extension.4', 'initial.conv'}.isdisjoint(kept.layers)
    assert 'down2.extension.4' in kept.layers
