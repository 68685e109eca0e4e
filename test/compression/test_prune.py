import copy
import time

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.compression.budget import Budget
from seg_ros.compression.importance import Task
from seg_ros.compression.prune import prune_to, remove_blocks_to
from seg_ros.errors import BudgetError, ParameterError, UnknownNameError
from seg_ros.networks.enet import ENet
from seg_ros.networks.graph.channels import removable_blocks, trace_channels
from seg_ros.networks.graph.cost import count_bytes, count_macs, count_parameters, network_cost
from seg_ros.networks.graph.measure import LatencyModel
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation

EXAMPLE = torch.zeros(1, 3, 16, 16)


def task() -> Task:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 2, (2, 16, 16), dtype=torch.uint8, generator=generator)

    def loss(scores: Tensor, truth: Tensor) -> Tensor:
        return F.cross_entropy(scores, truth.long())

    return Task([(images, labels)], loss)


def graded() -> nn.Module:
    """Layers of 12 and 8 channels, each with kernels of magnitude 1, 2, 3, ..."""
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)
    )
    with torch.no_grad():
        for layer in (network[0], network[2]):
            for channel in range(layer.out_channels):
                layer.weight[channel] = channel + 1
    return network


def widths(network: nn.Module) -> list[int]:
    return [layer.out_channels for layer in network if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize('kind', ['macs', 'parameters', 'bytes'])
@pytest.mark.parametrize('step', [0.05, 1.0])
def test_the_budget_holds_and_little_more_goes(kind: str, step: float) -> None:
    network = graded()
    count = {'macs': lambda n: count_macs(n, EXAMPLE), 'parameters': count_parameters, 'bytes': count_bytes}[
        kind
    ]
    before = count(network)
    steps = prune_to(network, EXAMPLE, Budget(kind, 0.5 * before), criterion='l1', step=step)
    assert steps[-1].amount == count(network)
    assert 0.4 * before < count(network) <= 0.5 * before
    assert (len(steps) == 1) == (step == 1.0)
    assert steps[-1].channels == {'0': widths(network)[0], '2': widths(network)[1]}
    # the largest kernels are those that are left, and the biases that go with them
    assert network[0].weight[:, 0, 0, 0].tolist() == [float(v) for v in range(13 - widths(network)[0], 13)]


@pytest.mark.parametrize('level', ['fp32', 'int8'])
def test_a_budget_of_energy_holds_in_millijoules(level: str) -> None:
    """The estimate of the whole network is within the budget, and not far below."""

    def millijoules(network: nn.Module) -> float:
        return network_cost(network, EXAMPLE, level).energy_uj / 1000

    network = graded()
    before = millijoules(network)
    steps = prune_to(network, EXAMPLE, Budget('energy', 0.6 * before, level), criterion='l1')
    assert steps[-1].amount == millijoules(network)
    assert 0.45 * before < millijoules(network) <= 0.6 * before
    with pytest.raises(BudgetError, match=r'budget of 1e-09 mJ cannot be met: .* mJ now'):
        prune_to(graded(), EXAMPLE, Budget('energy', 1e-9), criterion='l1')


def test_nothing_happens_where_the_budget_holds() -> None:
    network = graded()
    assert prune_to(network, EXAMPLE, Budget('macs', 1e9), criterion='l1') == []
    assert widths(network) == [12, 8, 2]


@pytest.mark.parametrize('multiple', [2, 4])
def test_channels_are_multiples(multiple: int) -> None:
    network = graded()
    prune_to(
        network,
        EXAMPLE,
        Budget('parameters', 0.6 * count_parameters(network)),
        criterion='l1',
        multiple=multiple,
    )
    assert widths(network) != [12, 8, 2]
    assert all(width % multiple == 0 for width in widths(network)[:2])


def test_what_enet_reads_are_multiples() -> None:
    """With those of other layers and of the image: 13 + 3 and 48 + 16 are, 13 and 48 need not be."""
    torch.manual_seed(0)
    network = ENet(2)
    budget = Budget('macs', 0.4 * count_macs(network, EXAMPLE))
    prune_to(network, EXAMPLE, budget, criterion='random', multiple=4, step=0.4)
    read = {
        n: m.in_channels
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and n != 'initial.conv'
    }
    assert all(count % 4 == 0 for count in read.values()), read
    assert network.initial.conv.out_channels + 3 < 17
    assert count_macs(network, EXAMPLE) <= budget.limit
    assert network.eval()(torch.zeros(1, 3, 17, 31)).shape == (1, 2, 17, 31)


def test_the_floor_holds() -> None:
    network = graded()
    prune_to(
        network, EXAMPLE, Budget('macs', 0.4 * count_macs(network, EXAMPLE)), criterion='random', floor=4
    )
    assert min(widths(network)[:2]) >= 4
    network = graded()
    few = Budget('parameters', 0.45 * count_parameters(network))
    prune_to(network, EXAMPLE, few, criterion='l1', floor_fraction=0.5)
    assert widths(network)[0] >= 6
    assert widths(network)[1] >= 4


def test_a_budget_that_cannot_be_met_says_what_can() -> None:
    network = graded()
    now = (3 * 9 * 12 + 12 * 8 + 8 * 2) * 256
    least = (3 * 9 * 1 + 1 + 1 * 2) * 256
    with pytest.raises(BudgetError) as caught:
        prune_to(network, EXAMPLE, Budget('macs', least - 1), criterion='l1')
    assert f'budget of {least - 1:,} macs cannot be met: it is {now:,} macs now' in str(caught.value)
    assert f'the smallest reachable is {least:,} macs;' in str(caught.value)
    assert widths(network) == [12, 8, 2]
    prune_to(network, EXAMPLE, Budget('macs', least), criterion='l1')
    assert widths(network) == [1, 1, 2]


def test_what_a_criterion_keeps_counts_as_unreachable() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    ).eval()
    least = (3 * 4 + 4 * 1 + 1 * 2) * 256
    with pytest.raises(BudgetError, match=f'{least:,} macs;'):
        prune_to(network, EXAMPLE, Budget('macs', 1), criterion='batch_norm')
    prune_to(network, EXAMPLE, Budget('macs', least), criterion='batch_norm')
    assert widths(network) == [4, 1, 2]


def test_measured_latency_leads() -> None:
    """Something slow only where a layer is wide."""
    network, seen = graded(), []

    def measure(candidate: nn.Module) -> float:
        seen.append(widths(candidate))
        return float(candidate[2].out_channels)

    steps = prune_to(network, EXAMPLE, Budget('latency', 3.0, measure=measure), criterion='random', step=0.2)
    assert widths(network)[1] <= 3
    assert [1, 1, 2] in seen  # what is the fastest was asked first
    assert [step.amount for step in steps] == sorted((step.amount for step in steps), reverse=True)
    with pytest.raises(BudgetError, match=r'budget of 0\.5 ms cannot be met: .* smallest reachable is 1 ms'):
        prune_to(network, EXAMPLE, Budget('latency', 0.5, measure=measure), criterion='l1')


def test_importance_may_be_counted_for_what_is_saved() -> None:
    plain, weighed, fast = graded(), graded(), graded()
    budget = Budget('macs', 0.5 * count_macs(plain, EXAMPLE))
    prune_to(plain, EXAMPLE, budget, criterion='l1')
    prune_to(weighed, EXAMPLE, budget, criterion='l1', per='macs')
    assert widths(weighed)[0] < widths(plain)[0]  # the kernels of the first layer are larger
    assert widths(weighed)[1] > widths(plain)[1]
    prune_to(fast, EXAMPLE, budget, criterion='l1', per='latency', model=LatencyModel(1e-6, 0.0))
    assert widths(fast) == widths(weighed)


def test_fine_tuning_between_steps() -> None:
    network, seen = graded(), []
    budget = Budget('macs', 0.5 * count_macs(network, EXAMPLE))
    steps = prune_to(
        network, EXAMPLE, budget, task=task(), after_step=lambda n: seen.append(widths(n)), step=0.1
    )
    assert len(seen) == len(steps) > 3
    assert seen[-1] == widths(network)


def test_blocks_go_by_what_they_do_and_save() -> None:
    torch.manual_seed(0)
    network = ENet(2).eval()
    with torch.no_grad():
        for name in ('stage2.6', 'stage1.2'):  # these do nothing at all
            block = network.get_submodule(name)
            block.extension[5].weight.zero_()
            block.extension[5].bias.zero_()
            block.act.weight.fill_(1)
    images, labels = task().batches[0]
    with torch.no_grad():
        taught = ImageNetwork(network, Normalisation())(images)
    objective = Task([(images, labels)], lambda scores, _: (scores - taught).square().mean())
    before = count_macs(network, EXAMPLE)
    steps = remove_blocks_to(network, EXAMPLE, Budget('macs', 1), objective, n_most=2)
    assert {step.blocks for step in steps} == {('stage2.6',), ('stage1.2',)}
    assert steps[-1].amount == count_macs(network, EXAMPLE) < before
    assert objective.mean_loss(network) < 1e-9


def test_blocks_alone_may_not_be_enough() -> None:
    network = ENet(2).eval()
    shell = copy.deepcopy(network)
    for name in removable_blocks(network, EXAMPLE):
        parent, _, leaf = name.rpartition('.')
        setattr(shell.get_submodule(parent), leaf, nn.Identity())
    with pytest.raises(BudgetError, match=f'reachable is {count_parameters(shell):,} parameters'):
        remove_blocks_to(network, EXAMPLE, Budget('parameters', 1000), task())
    assert len(removable_blocks(network, EXAMPLE)) == 23


def test_blocks_by_latency() -> None:
    class Slow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.02)
            return x

    class Residual(nn.Module):
        def __init__(self, *parts: nn.Module) -> None:
            super().__init__()
            self.body = nn.Sequential(*parts)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1),
        Residual(nn.Conv2d(4, 4, 1)),
        Residual(nn.Conv2d(4, 4, 1), Slow()),
        nn.Conv2d(4, 2, 1),
    )
    with torch.no_grad():
        network[2].body[0].weight.copy_(network[1].body[0].weight)
        network[2].body[0].bias.copy_(network[1].body[0].bias)

    def measure(candidate: nn.Module) -> float:
        return 10.0 * sum(isinstance(module, Slow) for module in candidate.modules()) + 1

    (step,) = remove_blocks_to(network, EXAMPLE, Budget('latency', 5.0, measure=measure), task())
    assert step.blocks == ('2',)


def test_nonsense_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='macs, parameters, bytes, energy, latency'):
        Budget('seconds', 1)
    with pytest.raises(ParameterError, match='more than 0'):
        Budget('macs', 0)
    with pytest.raises(ParameterError, match='measure'):
        Budget('latency', 1)
    for wrong in ({'step': 0}, {'floor': 0}, {'multiple': 0}, {'floor_fraction': 1.5}):
        with pytest.raises(ParameterError, match='expected 0 < step <= 1'):
            prune_to(graded(), EXAMPLE, Budget('macs', 1), criterion='l1', **wrong)


def test_kept_maps_are_kept() -> None:
    network = graded()
    budget = Budget('parameters', 0.5 * count_parameters(network))
    prune_to(network, EXAMPLE, budget, criterion='l1', keep=['2'])
    assert widths(network)[1] == 8
    assert list(trace_channels(network, EXAMPLE, keep=['2']).layers) == ['0']
