"""Pruning: removes channels and blocks from a network until its cost is within a budget.

The least important go first, in steps. After each step, the rest is scored again, and the network may be
fine-tuned (P. Molchanov et al., ICLR 2017, section 2). Latency is measured, and energy is estimated, for
the whole network; MACs only determine how much is removed before the next measurement.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.compression.budget import Budget
from seg_ros.compression.importance import Task, block_importance, evaluating, importance
from seg_ros.errors import ParameterError
from seg_ros.networks.graph.blocks import remove_block
from seg_ros.networks.graph.channels import ChannelMap, removable_blocks, remove, trace_channels
from seg_ros.networks.graph.cost import LayerCost, count_bytes, layer_costs
from seg_ros.networks.graph.measure import LatencyModel, measure_layers
from seg_ros.networks.graph.savings import savings
from seg_ros.networks.graph.trace import on_meta


@dataclass(frozen=True)
class PruningStep:
    """A network after a step of pruning.

    Attributes:
        amount: Cost of the network, in the unit of the budget.
        channels: Layer -> number of remaining units.
        blocks: Names of the blocks removed in this step.
    """

    amount: float
    channels: dict[str, int]
    blocks: tuple[str, ...] = ()


def prune_to(
    network: nn.Module,
    example: Tensor,
    budget: Budget,
    *,
    criterion: str = 'taylor',
    task: Task | None = None,
    per: str | None = None,
    model: LatencyModel | None = None,
    step: float = 0.1,
    floor: int = 1,
    floor_fraction: float = 0.0,
    multiple: int = 1,
    keep: Collection[str] = (),
    seed: int = 0,
    after_step: Callable[[nn.Module], None] | None = None,
) -> list[PruningStep]:
    """Remove the least important units and score again, until a budget holds, in place.

    Args:
        network: Network to make smaller. Its parameters are replaced, so make optimizers afterwards.
        example: (1, 3, H, W) input of the size that the budget is for; its values do not matter.
        budget: Maximum cost of the network.
        criterion: Name in CRITERIA.
        task: Labelled images, for criteria that need them.
        per: Divide importance by the savings of a unit: one of ``savings.SAVINGS``, or None.
        model: Latency model for ``per='latency'``; None = measure one on the CPU.
        step: Fraction of the cost at the start to remove between two scorings, 0..1; of MACs for latency
            and energy.
        floor: Minimum number of units of each layer, 1 or more.
        floor_fraction: Minimum fraction of its units that each layer keeps, 0..1.
        multiple: Number of input channels of convolutions becomes a multiple of this, for kernels that
            compute 4, 8 or 16 channels at once.
        keep: Names of sub-modules whose results keep all their channels.
        seed: Seed of criterion ``random``.
        after_step: Function called with the network after each step, to fine-tune it.

    Returns:
        The network's cost and channels after each step; empty if the budget holds from the start.

    Raises:
        BudgetError: The budget cannot be met. This is found before anything is removed.
        ParameterError: ``step``, ``floor``, ``floor_fraction`` or ``multiple`` is out of range.
    """
    if not (0 < step <= 1 and floor >= 1 and 0 <= floor_fraction <= 1 and multiple >= 1):
        raise ParameterError(
            f'step {step}, floor {floor}, floor_fraction {floor_fraction}, multiple {multiple}; '
            'expected 0 < step <= 1, floor 1 or more, 0 <= floor_fraction <= 1, multiple 1 or more'
        )
    start = amount = budget.amount(network, example)
    if start <= budget.limit:
        return []
    channels = trace_channels(network, example, keep=keep)
    floors = {name: max(floor, math.ceil(floor_fraction * len(n))) for name, n in channels.layers.items()}
    score = importance(network, channels, criterion, task=task, seed=seed)
    removable = _in_order(network, channels, score, None, floors, multiple)
    smallest = _smallest(network, example, budget, channels, removable)
    if smallest > budget.limit:
        raise budget.refusal(smallest, start)
    if per == 'latency' and model is None:
        model = LatencyModel.measure(network, torch.zeros_like(example[:1]))
    whole = _Prediction(network, channels, budget).total
    steps: list[PruningStep] = []
    while amount > budget.limit:
        saved = None if per is None else savings(network, channels, per, model=model)
        groups = _in_order(network, channels, score, saved, floors, multiple)
        excess = whole * _step_fraction(budget, amount, start, step)
        chosen = _choose(groups, _Prediction(network, channels, budget), budget, amount, excess)
        if not chosen:
            raise budget.refusal(amount, amount)
        remove(network, [channels.units[number] for number in chosen])
        if after_step is not None:
            after_step(network)
        channels = trace_channels(network, example, keep=keep)
        amount = budget.amount(network, example)
        steps.append(PruningStep(amount, {name: len(numbers) for name, numbers in channels.layers.items()}))
        if amount > budget.limit:
            score = importance(network, channels, criterion, task=task, seed=seed + len(steps))
    return steps


def remove_blocks_to(
    network: nn.Module,
    example: Tensor,
    budget: Budget,
    task: Task,
    *,
    n_most: int | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
) -> list[PruningStep]:
    """Remove the blocks with the least importance per saved cost, until a budget holds, in place.

    For each step, all remaining blocks are scored by leaving each of them out. Savings are counted; those of
    latency are the block's time in an eager run on the CPU.

    Args:
        network: Network to make shallower.
        example: (1, 3, H, W) input of the size that the budget is for.
        budget: Maximum cost of the network.
        task: Labelled images.
        n_most: Maximum number of blocks to remove, even if the budget does not hold then; None = no limit.
        after_step: Function called with the network after each step, to fine-tune it.

    Returns:
        The network's cost and channels after each step, and the block that was removed.

    Raises:
        BudgetError: The network without all its blocks is still too large; nothing is removed.
    """
    start = amount = budget.amount(network, example)
    if n_most is None and start > budget.limit:
        least = copy.deepcopy(network)
        for name in removable_blocks(network, example):
            remove_block(least, name)
        smallest = budget.amount(least, example)
        if smallest > budget.limit:
            raise budget.refusal(smallest, start)
    steps: list[PruningStep] = []
    while amount > budget.limit and (n_most is None or len(steps) < n_most):
        blocks = removable_blocks(network, example)
        if not blocks and n_most is None:
            raise budget.refusal(amount, amount)
        if not blocks:
            break
        saved = _saved_by_blocks(network, example, budget, blocks)
        changes = block_importance(network, blocks, task)
        worst = min(blocks, key=lambda name: (max(changes[name], 0.0) / saved[name], -saved[name]))
        remove_block(network, worst)
        if after_step is not None:
            after_step(network)
        amount = budget.amount(network, example)
        left = {n: len(u) for n, u in trace_channels(network, example).layers.items()}
        steps.append(PruningStep(amount, left, (worst,)))
    return steps


class _Prediction:
    """Predicted cost of a network without some units: values, bytes, or MACs for all other kinds."""

    def __init__(self, network: nn.Module, channels: ChannelMap, budget: Budget) -> None:
        tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self._units = channels.units
        self._shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        self._cost_per_value = _cost_per_value(network, channels, budget)
        self.total = sum(self._of(name) for name in self._shapes)

    def remove(self, numbers: Sequence[int]) -> None:
        """Subtract the cost of units, given by their numbers."""
        gone: dict[tuple[str, int], set[int]] = {}
        for number in numbers:
            for name, dim, channel in self._units[number].places:
                gone.setdefault((name, dim), set()).add(channel)
        for (name, dim), indices in gone.items():
            self.total -= self._of(name)
            self._shapes[name][dim] -= len(indices)
            self.total += self._of(name)

    def _of(self, name: str) -> float:
        return math.prod(self._shapes[name]) * self._cost_per_value.get(name, 0.0)


def _cost_per_value(network: nn.Module, channels: ChannelMap, budget: Budget) -> Mapping[str, float]:
    """Name of a tensor -> cost of each of its values; names without a cost are missing."""
    parameters = dict(network.named_parameters())
    if budget.kind == 'macs' or not budget.is_counted:
        return channels.macs_per_value
    if budget.kind == 'parameters':
        return dict.fromkeys(parameters, 1.0)
    tensors = {**parameters, **dict(network.named_buffers())}
    return {
        name: count_bytes(_Holder(tensor), budget.level) / max(tensor.numel(), 1)
        for name, tensor in tensors.items()
    }


class _Holder(nn.Module):
    """A module of one tensor."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.register_buffer('tensor', tensor.detach())


def _choose(
    groups: list[list[int]], predicted: _Prediction, budget: Budget, amount: float, excess: float
) -> list[int]:
    """Numbers of the units to remove in a step.

    Args:
        groups: Groups of units, least important first.
        predicted: Predicted cost of the network; units are subtracted from it.
        budget: Maximum cost; a counted budget is not undercut by more than a group.
        amount: Present cost, in the unit of the budget.
        excess: Predicted cost to remove in this step.
    """
    target = predicted.total - excess
    if budget.is_counted:
        target = max(target, budget.limit - (amount - predicted.total))
    chosen: list[int] = []
    for numbers in groups:
        if predicted.total <= target:
            break
        predicted.remove(numbers)
        chosen += numbers
    return chosen


def _step_fraction(budget: Budget, amount: float, start: float, step: float) -> float:
    """Fraction of MACs to remove in the next step; smaller towards the end of a measured budget."""
    if budget.is_counted:
        return step
    return min(step, max((amount - budget.limit) / start, step / 4))


def _in_order(
    network: nn.Module,
    channels: ChannelMap,
    score: Tensor,
    saved: Tensor | None,
    floors: Mapping[str, int],
    multiple: int,
) -> list[list[int]]:
    """Numbers of removable units, in groups that keep numbers of channels multiples, least important first.

    Within a layer, units are ordered by importance only: they all save the same.
    """
    extra = _companions(network, channels)
    groups: list[tuple[float, int, list[int]]] = []
    for name, numbers in channels.layers.items():
        left = len(numbers)
        order = sorted(numbers, key=lambda number: float(score[number]))
        worth = -math.inf
        while True:
            count = (left + extra[name]) % multiple or multiple
            is_last = left - count < floors.get(name, 1)
            if is_last or score[order[count - 1]].isinf():
                break
            group, order, left = order[:count], order[count:], left - count
            of_group = float(
                score[group].mean() if saved is None else score[group].sum() / saved[group].sum()
            )
            worth = max(worth, of_group)
            groups.append((worth, len(groups), group))
    return [group for _, _, group in sorted(groups)]


def _companions(network: nn.Module, channels: ChannelMap) -> dict[str, int]:
    """Layer -> number of channels of other sources beside its own in the convolutions that read it.

    The smallest of several numbers counts: further channels belong to layers that are rounded themselves.
    """
    own: dict[tuple[str, int], dict[str, int]] = {}
    for unit in channels.units:
        for name, dim, _ in unit.readers:
            of_dim = own.setdefault((name, dim), {})
            of_dim[unit.layer] = of_dim.get(unit.layer, 0) + 1
    extra: dict[str, int] = {}
    for (name, dim), counts in own.items():
        for layer, count in counts.items():
            beside = network.get_parameter(name).shape[dim] - count
            extra[layer] = min(extra.get(layer, beside), beside)
    return {layer: extra.get(layer, 0) for layer in channels.layers}


def _smallest(
    network: nn.Module, example: Tensor, budget: Budget, channels: ChannelMap, groups: list[list[int]]
) -> float:
    """Cost without all removable units; only a measured budget needs weights for it."""
    least = copy.deepcopy(network) if budget.kind == 'latency' else on_meta(network)
    remove(least, [channels.units[number] for group in groups for number in group])
    return budget.amount(least, example)


def _saved_by_blocks(
    network: nn.Module, example: Tensor, budget: Budget, blocks: Sequence[str]
) -> dict[str, float]:
    """Cost of each block, above 0, in the unit of the budget."""
    if budget.kind == 'latency':
        with evaluating(network):
            taken = measure_layers(network, torch.zeros_like(example[:1]))
    else:
        layers = layer_costs(network, example[:1], budget.level)
        taken = {layer.name: float(_COST_OF_LAYER[budget.kind](layer)) for layer in layers}
    inside = {b: sum(t for n, t in taken.items() if n == b or n.startswith(f'{b}.')) for b in blocks}
    return {name: max(amount, 1e-12) for name, amount in inside.items()}


_COST_OF_LAYER: dict[str, Callable[[LayerCost], float]] = {
    'macs': lambda layer: layer.n_macs,
    'parameters': lambda layer: layer.n_parameters,
    'bytes': lambda layer: layer.n_bytes,
    'energy': lambda layer: layer.energy_uj / 1e3,
}
"""Kind of a counted budget -> cost of a layer."""
