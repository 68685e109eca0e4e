"""Pruning: channels and blocks really leave a network until it costs no more than a budget.

Least important first, in steps, with scores taken again after each and room for fine-tuning between them (P.
Molchanov et al., ICLR 2017, section 2). Measured latency leads where the budget is one of latency; MACs only
decide how much goes before the next measurement.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seg_ros.compression.importance import Task, block_importance, evaluating, importance
from seg_ros.errors import BudgetError, ParameterError, UnknownNameError
from seg_ros.networks.graph.channels import (
    ChannelMap,
    Unit,
    removable_blocks,
    remove,
    remove_block,
    trace_channels,
)
from seg_ros.networks.graph.cost import count_bytes, count_macs, count_parameters, layer_costs
from seg_ros.networks.graph.measure import LatencyModel, measure_layers
from seg_ros.networks.graph.savings import savings
from seg_ros.networks.graph.trace import on_meta


@dataclass(frozen=True)
class Budget:
    """What a network may cost.

    Attributes:
        kind: one of BUDGETS: 'macs' or 'latency' (in ms) of one image, 'parameters', or 'bytes'.
        limit: the most that it may be, above 0.
        level: for 'bytes', a name in ``cost.LEVELS``.
        measure: for 'latency': gives the milliseconds that a network takes for an image, however it is to be
            run and measured.
    """

    kind: str
    limit: float
    level: str = 'fp32'
    measure: Callable[[nn.Module], float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in BUDGETS:
            raise UnknownNameError('kind of budget', self.kind, list(BUDGETS))
        if not self.limit > 0:
            raise ParameterError(f'budget of {self.limit} {self.kind}; expected more than 0')
        if (self.kind == 'latency') != (self.measure is not None):
            raise ParameterError(f"budget of {self.kind}: 'measure' belongs to 'latency', and only to it")

    def amount(self, network: nn.Module, example: Tensor) -> float:
        """What a network costs, in the unit of the limit."""
        if self.measure is not None:
            return self.measure(network)
        if self.kind == 'macs':
            return count_macs(network, example[:1])
        return count_parameters(network) if self.kind == 'parameters' else count_bytes(network, self.level)

    def refusal(self, smallest: float, now: float) -> BudgetError:
        """The error that says how far one can go."""
        return BudgetError(
            f'budget of {self._say(self.limit)} cannot be met: it is {self._say(now)} now, and the smallest '
            f'reachable is {self._say(smallest)}; allow more, lower the floor, or remove blocks first'
        )

    def _say(self, amount: float) -> str:
        return f'{amount:.4g} ms' if self.kind == 'latency' else f'{math.ceil(amount):,} {self.kind}'


BUDGETS = ('macs', 'parameters', 'bytes', 'latency')
"""Kinds of budgets."""


@dataclass(frozen=True)
class PruningStep:
    """What a network is after some of it was removed.

    Attributes:
        amount: of what the budget limits.
        channels: layer -> units that are left.
        blocks: names of the blocks removed in this step.
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
    floor_share: float = 0.0,
    multiple: int = 1,
    keep: Collection[str] = (),
    seed: int = 0,
    after_step: Callable[[nn.Module], None] | None = None,
) -> list[PruningStep]:
    """Remove the units that matter least, and score again, until a budget holds. In place.

    Args:
        network: becomes smaller; parameters are replaced, so make optimizers afterwards.
        example: (1, 3, H, W), the input that the budget is for; its values do not count.
        budget: what the network may cost.
        criterion: name in CRITERIA.
        task: images with labels, for criteria that need them.
        per: divide importance by what a unit saves: one of ``cost.SAVINGS``, or None.
        model: of latency, for ``per='latency'``; measured on the CPU where None.
        step: share, 0..1, of the budgeted amount at the start (of MACs for latency) that goes between two
            scorings.
        floor: units that each layer keeps at least, 1 or more.
        floor_share: share, 0..1, of its units that each layer keeps at least.
        multiple: the channels that convolutions read are rounded to a multiple of this, counting from 0;
            kernels like 4, 8 or 16.
        keep: names of sub-modules whose results keep their channels.
        seed: of criterion ``random``.
        after_step: called with the network after each step, to fine-tune it.

    Returns:
        What the network was after each step; empty where the budget held from the start.

    Raises:
        BudgetError: the budget cannot be met. This is found out before anything is removed.
        ParameterError: ``step``, ``floor``, ``floor_share`` or ``multiple`` is out of range.
    """
    if not (0 < step <= 1 and floor >= 1 and 0 <= floor_share <= 1 and multiple >= 1):
        raise ParameterError(
            f'step {step}, floor {floor}, floor_share {floor_share}, multiple {multiple}; '
            'expected 0 < step <= 1, floor 1 or more, 0 <= floor_share <= 1, multiple 1 or more'
        )
    start = budget.amount(network, example)
    if start <= budget.limit:
        return []
    channels = trace_channels(network, example, keep=keep)
    floors = {name: max(floor, math.ceil(floor_share * len(n))) for name, n in channels.layers.items()}
    score = importance(network, channels, criterion, task=task, seed=seed)
    may_go = _in_order(network, channels, score, None, floors, multiple)
    smallest = _smallest(network, example, budget, channels, may_go)
    if smallest > budget.limit:
        raise budget.refusal(smallest, start)
    if per == 'latency' and model is None:
        model = LatencyModel.measure(network, torch.zeros_like(example[:1]))
    at_start = _Amount(network, channels, budget).total
    amount = start
    steps: list[PruningStep] = []
    while amount > budget.limit:
        saved = None if per is None else savings(network, channels, per, model=model)
        groups = _in_order(network, channels, score, saved, floors, multiple)
        predicted = _Amount(network, channels, budget)
        target = predicted.total - at_start * _share(budget, amount, start, step)
        if budget.kind != 'latency':
            target = max(target, budget.limit - (amount - predicted.total))
        gone: list[int] = []
        for numbers in groups:
            if predicted.total <= target:
                break
            predicted.remove([channels.units[number] for number in numbers])
            gone += numbers
        if not gone:
            raise budget.refusal(amount, amount)
        remove(network, [channels.units[number] for number in gone])
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
    """Leave out the blocks that matter least for what they save, one by one, until a budget holds. In place.

    Each time, all blocks left are scored by really leaving them out; the saving is counted, or, for latency,
    is the time that the block takes in an eager run on the CPU.

    Args:
        network: becomes shallower.
        example: (1, 3, H, W), the input that the budget is for.
        budget: what the network may cost.
        task: images with labels.
        n_most: stop after so many blocks, whether or not the budget holds by then.
        after_step: called with the network after each step, to fine-tune it.

    Returns:
        What the network was after each step, with the block that went.

    Raises:
        BudgetError: the network is too large without any of its blocks; nothing is removed.
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


class _Amount:
    """What a network will cost when units have left it: MACs, values or bytes; MACs for latency."""

    def __init__(self, network: nn.Module, channels: ChannelMap, budget: Budget) -> None:
        parameters = dict(network.named_parameters())
        tensors = {**parameters, **dict(network.named_buffers())}
        self._shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        if budget.kind in ('macs', 'latency'):
            self._weights: Mapping[str, float] = channels.macs_per_value
        elif budget.kind == 'parameters':
            self._weights = dict.fromkeys(parameters, 1.0)
        else:
            one = {
                name: count_bytes(_Holder(t), budget.level) / max(t.numel(), 1) for name, t in tensors.items()
            }
            self._weights = one
        self.total = sum(self._of(name) for name in self._shapes)

    def remove(self, units: Sequence[Unit]) -> None:
        """Count without these."""
        gone: dict[tuple[str, int], set[int]] = {}
        for unit in units:
            for name, dim, channel in unit.places:
                gone.setdefault((name, dim), set()).add(channel)
        for (name, dim), indices in gone.items():
            self.total -= self._of(name)
            self._shapes[name][dim] -= len(indices)
            self.total += self._of(name)

    def _of(self, name: str) -> float:
        return math.prod(self._shapes[name]) * self._weights.get(name, 0.0)


class _Holder(nn.Module):
    """A module of one tensor."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.register_buffer('tensor', tensor.detach())


def _share(budget: Budget, amount: float, start: float, step: float) -> float:
    """Share of MACs to take in the next step: smaller ones towards the end, where measuring decides."""
    if budget.kind != 'latency':
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
    """Numbers of units that may go, in groups that keep channels multiples, least important group first.

    Within a layer the least important units go first, whatever they save: they all save the same.
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
    """Layer -> channels of other layers, or of none, beside its own wherever it is read.

    Of several numbers the smallest: those in addition belong to layers that are rounded themselves.
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
    """The amount when all that may go has gone; only a measured budget needs weights for that."""
    least = copy.deepcopy(network) if budget.kind == 'latency' else on_meta(network)
    remove(least, [channels.units[number] for group in groups for number in group])
    return budget.amount(least, example)


def _saved_by_blocks(
    network: nn.Module, example: Tensor, budget: Budget, blocks: Sequence[str]
) -> dict[str, float]:
    """What each block costs, above 0, in the unit of the budget."""
    if budget.kind == 'latency':
        with evaluating(network):
            taken = measure_layers(network, torch.zeros_like(example[:1]))
    else:
        layers = layer_costs(network, example[:1], budget.level)
        of_layer = {'macs': 'n_macs', 'parameters': 'n_parameters', 'bytes': 'n_bytes'}[budget.kind]
        taken = {layer.name: float(getattr(layer, of_layer)) for layer in layers}
    inside = {b: sum(t for n, t in taken.items() if n == b or n.startswith(f'{b}.')) for b in blocks}
    return {name: max(amount, 1e-12) for name, amount in inside.items()}
