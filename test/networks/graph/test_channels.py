"""Every network of the tables with channels and blocks taken out of it, on tiny images."""

import copy
import random
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.blocks import remove_block
from seg_ros.networks.graph.channels import (
    ChannelMap,
    Unit,
    removable_blocks,
    remove,
    shrink,
    trace_channels,
)
from seg_ros.networks.registry import ENCODERS, MODELS

EXAMPLE = torch.zeros(1, 3, 64, 64)
SMALLER = {
    'segnet': {'width': 8},
    'segnet_basic': {'width': 12},
    'efficientnet_lite_pyramid': {'width': 16},
    'squeezenet_pyramid': {'width': 16},
}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: MODELS[name](4, **SMALLER.get(name, {})) for name in MODELS},
    **{name: ENCODERS[name] for name in ENCODERS},
    'alexnet in groups': lambda: ENCODERS['alexnet']('caffe'),
}


@pytest.fixture(autouse=True, scope='module')
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(name: str) -> nn.Module:
    """With kernels that keep signals alive, and vectors away from their start, so that every part matters."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.ndim > 1:
                nn.init.kaiming_normal_(value)
            elif key.endswith(('bias', 'running_mean')):
                value.normal_(0, 0.25)
            elif value.is_floating_point():
                value.uniform_(0.5, 1)
    return network


def run(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        answer = network(x)
    return [answer] if isinstance(answer, Tensor) else list(answer)


def some_of(channels: ChannelMap, share: float) -> list[Unit]:
    draw = random.Random(0)
    return [
        channels.units[number]
        for numbers in channels.layers.values()
        for number in draw.sample(numbers, int(len(numbers) * share))
    ]


def silence(network: nn.Module, units: list[Unit]) -> None:
    """Zeros for all that makes the channels: kernels, biases, scales, slopes, and nothing that reads them."""
    state = network.state_dict()
    for unit in units:
        for name, dim, channel in unit.makers:
            if 'running' not in name:
                state[name].select(dim, channel).zero_()


@pytest.mark.parametrize('name', NETWORKS)
def test_without_channels_it_says_what_it_says_with_zeros_in_them(name: str) -> None:
    network, x = build(name), torch.randn(1, 3, 64, 96)
    channels = trace_channels(network, EXAMPLE)
    units = some_of(channels, 0.3)
    zeros = copy.deepcopy(network)
    silence(zeros, units)
    n_before = sum(p.numel() for p in network.parameters())
    full = run(network, x)
    remove(network, units)
    assert sum(p.numel() for p in network.parameters()) < 0.85 * n_before
    changes = [(got - old).std() / old.std() for got, old in zip(run(network, x), full, strict=True)]
    assert max(changes) > 0.01
    for got, want in zip(run(network, x), run(zeros, x), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * max(1.0, float(want.abs().max())))

    again = trace_channels(network, EXAMPLE)
    assert len(again.units) == len(channels.units) - len(units)
    assert list(again.layers) == list(channels.layers)

    fresh = NETWORKS[name]().eval()
    shrink(fresh, {key: value.shape for key, value in network.state_dict().items()})
    fresh.load_state_dict(network.state_dict())
    assert repr(fresh) == repr(network)
    for got, want in zip(run(fresh, x), run(network, x), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize('name', MODELS)
def test_what_is_left_learns_and_exports(name: str) -> None:
    network = build(name)
    remove(network, some_of(trace_channels(network, EXAMPLE), 0.5))
    exported = torch.export.export(network, (torch.zeros(1, 3, 64, 80),)).module()
    x = torch.randn(1, 3, 64, 80)
    torch.testing.assert_close(run(exported, x), run(network, x), rtol=1e-4, atol=1e-4)
    network.train()(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in network.parameters())
    torch.optim.SGD(network.parameters(), 0.1).step()


@pytest.mark.parametrize('name', MODELS)
def test_one_unit_of_each_layer_is_enough(name: str) -> None:
    network = build(name)
    channels = trace_channels(network, EXAMPLE)
    remove(network, [channels.units[n] for numbers in channels.layers.values() for n in numbers[1:]])
    (scores,) = run(network, torch.randn(1, 3, 33, 47))
    assert scores.shape == (1, 4, 33, 47)
    left = trace_channels(network, EXAMPLE)
    # One channel in each group of ESPNetv2 is a depth-wise convolution: its channels are units of their own.
    most = 2 if name == 'espnetv2' else 1
    assert max(len(numbers) for numbers in left.layers.values()) == most


def test_modules_say_what_they_have() -> None:
    network = build('efficientnet_lite_pyramid')
    remove(network, some_of(trace_channels(network, EXAMPLE), 0.3))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            groups = module.groups
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // groups)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.weight) == len(module.running_mean)
    enet = build('enet')
    remove(enet, some_of(trace_channels(enet, EXAMPLE), 0.3))
    assert all(m.num_parameters == len(m.weight) for m in enet.modules() if isinstance(m, nn.PReLU))


def test_blocks_are_those_that_add_to_what_they_take() -> None:
    stages = {'stage1': 4, 'stage2': 8, 'stage3': 8, 'stage4': 2}
    expected = [f'{stage}.{i}' for stage, n in stages.items() for i in range(n)]
    assert removable_blocks(ENet(3), EXAMPLE) == [*expected, 'stage5']
    assert removable_blocks(MODELS['segnet_small'](2), EXAMPLE) == []
    blocks = removable_blocks(MODELS['efficientnet_lite_pyramid'](2), EXAMPLE)
    repeats = {1: 2, 2: 2, 3: 3, 4: 3, 5: 4}
    assert blocks == [f'encoder.stages.{s}.{i}' for s, n in repeats.items() for i in range(1, n)]


def test_without_a_block_the_others_run_on() -> None:
    network, x = build('enet'), torch.randn(1, 3, 24, 32)
    with torch.no_grad():  # a block whose extension gives zeros and whose slope is 1 does nothing
        silent = network.stage2[3]
        silent.extension[5].weight.zero_()
        silent.extension[5].bias.zero_()
        silent.act.weight.fill_(1)
    (want,) = run(network, x)
    remove_block(network, 'stage2.3')
    assert isinstance(network.stage2[3], nn.Identity)
    torch.testing.assert_close(run(network, x)[0], want)
    assert 'stage2.3' not in removable_blocks(network, EXAMPLE)
    remove(network, some_of(trace_channels(network, EXAMPLE), 0.3))
    assert run(network, x)[0].shape == want.shape
    with pytest.raises(ParameterError, match=r"no sub-module 'stage9'"):
        remove_block(network, 'stage9')


def test_nothing_is_taken_that_is_not_there() -> None:
    network = build('enet')
    channels = trace_channels(network, EXAMPLE)
    shapes = {k: v.shape for k, v in network.state_dict().items()}
    layer = channels.layers['stage1.0.extension.0']
    with pytest.raises(ParameterError, match=r'no channel of stage1\.0\.extension\.0\.weight would be left'):
        remove(network, [channels.units[n] for n in layer])
    remove(network, [channels.units[n] for n in layer[:1]])
    with pytest.raises(ParameterError, match='has no channel 15 in dimension'):
        remove(network, [channels.units[layer[-1]]])
    changed = [k for k, v in network.state_dict().items() if v.shape != shapes[k]]
    assert len(changed) == 7  # kernel, four vectors of the norm, slopes, the kernel that reads


def test_one_tensor_under_two_names_stays_one() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.Conv2d(4, 4, 1), nn.PReLU(4), nn.Conv2d(4, 2, 1)
    )
    network[3].weight = network[1].weight
    channels = trace_channels(network, EXAMPLE)
    assert {k: len(v) for k, v in channels.layers.items()} == {'0': 4}
    remove(network, channels.units[:1])
    assert network[1].weight is network[3].weight
    assert run(network, EXAMPLE)[0].shape == (1, 2, 64, 64)


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        ('initial.conv.weight', (14, 3, 3, 3), r'\(14, 3, 3, 3\); expected at most the \(13, 3, 3, 3\)'),
        ('initial.conv.weight', (13, 3, 3), r'\(13, 3, 3\); expected at most'),
        ('initial.conv.weight', (0, 3, 3, 3), 'initial.conv.weight has shape'),
        ('initial.conv.weight', (12, 3, 3, 3), 'do not fit together'),
        ('stage1.0.extension.5.bias', (63,), 'do not fit together'),
        ('stage1.0.extension.5.running_var', (1,), 'do not fit together'),
        ('full_conv.bias', (1,), 'do not fit together'),
        ('full_conv.weight', (16, 2, 3, 3), 'do not fit together'),
        ('nonsense', (1,), "unknown .'nonsense'"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with torch.device('meta'):
        network = ENet(3)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    with pytest.raises(ModelFileError, match=message):
        shrink(network, {**shapes, name: shape})


def test_fewer_classes_are_no_pruning() -> None:
    with torch.device('meta'):
        network = ENet(3)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    with pytest.raises(ModelFileError, match=r'gives \[\(1, 2, 64, 64\)\].* gives \[\(1, 3, 64, 64\)\]'):
        shrink(network, {**shapes, 'full_conv.weight': (16, 2, 3, 3), 'full_conv.bias': (2,)})
