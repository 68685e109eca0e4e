"""Criteria against networks where the answer is known, gates written out, and the oracle."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.compression.importance import (
    Task,
    block_importance,
    by_layer,
    importance,
    oracle_importance,
    rank_correlation,
)
from seg_ros.datasets.squares import SquaresDataset
from seg_ros.errors import ParameterError, UnavailableError, UnknownNameError
from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.blocks import remove_block
from seg_ros.networks.graph.channels import ChannelMap, removable_blocks, remove, trace_channels
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.segnet import SegNetSmall

EXAMPLE = torch.zeros(1, 3, 16, 16)


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores, labels.long(), ignore_index=255)


def task(n_classes: int, n_images: int = 3, size: int = 16) -> Task:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n_images, size, size, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, n_classes, (n_images, size, size), dtype=torch.uint8, generator=generator)
    labels[:, :2] = 255
    return Task([(images[:2], labels[:2]), (images[2:], labels[2:])], cross_entropy)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.Conv2d(5, 2, 1),
    ).eval()


def test_l1_is_the_mean_magnitude_of_kernels() -> None:
    network = small()
    channels = trace_channels(network, EXAMPLE)
    expected = [network[0].weight[c].abs().mean() for c in range(4)] + [
        network[3].weight[c].abs().mean() for c in range(5)
    ]
    found = importance(network, channels, 'l1')
    torch.testing.assert_close(found[:4], F.normalize(torch.stack(expected[:4]).detach().double(), dim=0))
    torch.testing.assert_close(found[4:], F.normalize(torch.stack(expected[4:]).detach().double(), dim=0))


def test_batch_norm_is_the_scale_and_leaves_the_rest() -> None:
    network = small()
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    found = importance(network, trace_channels(network, EXAMPLE), 'batch_norm')
    assert found.tolist() == [0.5, 2.0, 0.0, 1.0, *[math.inf] * 5]
    without = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    with pytest.raises(UnavailableError, match='choose l1 or taylor'):
        importance(without, trace_channels(without, EXAMPLE), 'batch_norm')


def test_random_is_drawn_by_the_seed() -> None:
    network = small()
    channels = trace_channels(network, EXAMPLE)
    first, again, other = (importance(network, channels, 'random', seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def gate_gradients(network: nn.Module, channels: ChannelMap, objective: Task) -> Tensor:
    """Gates of 1 on all that convolutions read, one a unit and image: mean magnitude of their gradients."""
    numbers: dict[str, dict[int, int]] = {}
    for number, unit in enumerate(channels.units):
        for name, _, channel in unit.readers:
            numbers.setdefault(name.removesuffix('.weight'), {})[channel] = number
    total, n_images = torch.zeros(len(channels.units)), 0
    for images, labels in objective.batches:
        for image, truth in zip(images, labels, strict=True):
            gates = torch.ones(len(channels.units) + 1, requires_grad=True)
            hooks = []
            for name, of_channel in numbers.items():

                def gate(_: nn.Module, x: tuple[Tensor], of: dict[int, int] = of_channel) -> Tensor:
                    index = [of.get(channel, len(channels.units)) for channel in range(x[0].shape[1])]
                    return x[0] * gates[index].view(1, -1, 1, 1)  # noqa: B023

                hooks.append(network.get_submodule(name).register_forward_pre_hook(gate))
            objective.loss(
                ImageNetwork(network, objective.normalisation)(image[None]), truth[None]
            ).backward()
            total += gates.grad[:-1].abs()
            n_images += 1
            for hook in hooks:
                hook.remove()
    return (total / n_images).double()


@pytest.mark.parametrize('build', [small, lambda: ENet(2).eval()])
def test_taylor_is_the_gradient_of_gates(build: object) -> None:
    torch.manual_seed(0)
    network = build()
    channels = trace_channels(network, EXAMPLE)
    found = importance(network, channels, 'taylor', task=task(2))
    want = by_layer(gate_gradients(network, channels, task(2)), channels)
    torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-5)
    norms = [float(found[list(numbers)].norm()) for numbers in channels.layers.values()]
    assert norms == pytest.approx([1.0] * len(norms), abs=1e-6)


def test_taylor_is_exact_where_the_loss_is_linear() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False))
    torch.manual_seed(0)
    channels = trace_channels(network, EXAMPLE)
    images = task(2).batches[0][0][:1]
    linear = Task(
        [(images, torch.zeros(1, 16, 16, dtype=torch.uint8))], lambda scores, _: scores[:, 0].mean()
    )
    truth = oracle_importance(network, channels, linear).abs()
    torch.testing.assert_close(
        importance(network, channels, 'taylor', task=linear), by_layer(truth, channels)
    )


def test_scoring_leaves_the_network_as_it_is() -> None:
    network = ENet(2).train()
    network.stage2.eval()
    network.up4.requires_grad_(False)
    channels = trace_channels(network, EXAMPLE)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    importance(network, channels, 'taylor', task=task(2))
    oracle_importance(network, channels, task(2), [0, 700])
    block_importance(network, removable_blocks(network, EXAMPLE)[:2], task(2))
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)
    assert all(p.grad is None for p in network.parameters())
    assert network.training
    assert network.stage3.training
    assert not network.stage2.training


def test_the_oracle_is_removal() -> None:
    torch.manual_seed(0)
    network = ENet(2)
    for _ in range(2):
        network(torch.randn(2, 3, 32, 32))
    network.eval()
    channels, objective = trace_channels(network, EXAMPLE), task(2)
    numbers = [numbers[-1] for numbers in channels.layers.values()][::16]
    changes = oracle_importance(network, channels, objective, numbers)
    assert len(changes.unique()) == len(numbers)
    for number, change in zip(numbers, changes.tolist(), strict=True):
        smaller = copy.deepcopy(network)
        remove(smaller, [channels.units[number]])
        assert objective.mean_loss(smaller) - objective.mean_loss(network) == pytest.approx(change, abs=1e-5)


def test_blocks_are_scored_by_leaving_them_out() -> None:
    torch.manual_seed(0)
    network, objective = ENet(2).eval(), task(2)
    changes = block_importance(network, ['stage2.1', 'stage5'], objective)
    for name, change in changes.items():
        without = copy.deepcopy(network)
        remove_block(without, name)
        assert objective.mean_loss(without) - objective.mean_loss(network) == pytest.approx(change, abs=1e-6)


def test_energy_prefers_what_saves_more() -> None:
    """Two layers of equal importance; the one on four times as many pixels goes first."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        for layer in network:
            layer.weight.fill_(1)
    channels = trace_channels(network, EXAMPLE)
    score = importance(network, channels, 'energy')
    assert score[:4].max() < score[4:].min()
    by_taylor = importance(small(), trace_channels(small(), EXAMPLE), 'energy', task=task(2))
    assert len(by_taylor) == 9
    assert (by_taylor > 0).all()


def test_what_is_missing_is_named() -> None:
    network = small()
    channels = trace_channels(network, EXAMPLE)
    with pytest.raises(UnknownNameError, match='batch_norm, energy, l1, random, taylor'):
        importance(network, channels, 'magic')
    with pytest.raises(ParameterError, match="'taylor' needs labelled images"):
        importance(network, channels, 'taylor')
    with pytest.raises(ParameterError, match="'taylor' needs labelled images"):
        importance(network, channels, 'taylor', task=Task([], cross_entropy))


def test_rank_correlation() -> None:
    stats = pytest.importorskip('scipy.stats', reason='SciPy is not installed')
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, 30), rng.normal(size=30)
        found = rank_correlation(torch.from_numpy(a), torch.from_numpy(b))
        assert found == pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank_correlation(torch.arange(9), torch.arange(9) ** 3) == pytest.approx(1)
    assert math.isnan(rank_correlation(torch.ones(3), torch.arange(3)))


def test_taylor_ranks_like_the_oracle_on_a_trained_network() -> None:
    """SegNet on squares, after some seconds of training; Molchanov et al. report about 0.73 for VGG16."""
    torch.manual_seed(0)
    network = SegNetSmall(2, width=8)
    data = SquaresDataset(None, 'train', n_images=16)
    pairs = [data[i] for i in range(16)]
    images = torch.stack([torch.from_numpy(image[::6, ::6].copy()) for image, _ in pairs])
    labels = torch.stack([torch.from_numpy(truth[::6, ::6].copy()) for _, truth in pairs])
    wrapped = ImageNetwork(network, Normalisation())
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(wrapped(images), labels).backward()
        optimizer.step()
    objective = Task([(images[:6], labels[:6])], cross_entropy)
    assert objective.mean_loss(network) < 0.4
    channels = trace_channels(network, torch.zeros(1, 3, 40, 54))
    truth = oracle_importance(network, channels, objective).abs()
    taylor = rank_correlation(importance(network, channels, 'taylor', task=objective), truth)
    assert taylor > 0.5
    assert taylor > rank_correlation(importance(network, channels, 'random'), truth)
