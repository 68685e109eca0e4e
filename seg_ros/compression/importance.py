"""Importance of channels and blocks: criteria, and the oracle for comparison.

Criteria are those of H. Li et al., "Pruning filters for efficient convnets", ICLR 2017 (``l1``); Z. Liu et
al., "Learning efficient convolutional networks through network slimming", ICCV 2017 (``batch_norm``); P.
Molchanov et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017
(``taylor`` and the oracle); T.-J. Yang, Y.-H. Chen, V. Sze, "Designing energy-efficient convolutional neural
networks using energy-aware pruning", CVPR 2017 (``energy``).

Deliberate differences. Units of ``channels`` are scored, so that coupled channels count together, at all
convolutions that read them. Yang et al. prune one layer after the other, that with the highest energy first;
here ``energy`` ranks all units by importance per saved energy, which removes most from the same layers but
never everything.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from seg_ros.errors import ParameterError, UnavailableError, UnknownNameError
from seg_ros.networks.graph.blocks import remove_block
from seg_ros.networks.graph.channels import ChannelMap, Unit
from seg_ros.networks.graph.savings import savings
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation


@dataclass(frozen=True)
class Task:
    """Labelled images, and the loss that pruning should not raise on them.

    Attributes:
        batches: Images (B, H, W, 3) uint8 RGB with labels (B, H, W) uint8, class ids and 255 for void.
        loss: Function from scores (B, K, H, W) float and labels (B, H, W) uint8 to the loss, a () float, mean
            over the pixels.
        normalisation: Normalisation of the network's input.
    """

    batches: Sequence[tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    normalisation: Normalisation = field(default_factory=Normalisation)

    def mean_loss(self, network: nn.Module) -> float:
        """Mean loss of a network in evaluation mode over all images."""
        total, n_images = 0.0, 0
        device = _device(network)
        with evaluating(network), torch.no_grad():
            wrapped = ImageNetwork(network, self.normalisation).to(device)
            for images, labels in self.batches:
                loss = self.loss(wrapped(images.to(device)), labels.to(device))
                total += float(loss) * len(images)
                n_images += len(images)
        return total / max(n_images, 1)


@dataclass(frozen=True)
class Scoring:
    """Input of a criterion.

    Attributes:
        network: Network to score; not changed.
        channels: Its present channels.
        task: Labelled images, or None.
        seed: Seed of random numbers.
    """

    network: nn.Module
    channels: ChannelMap
    task: Task | None
    seed: int

    def needed_task(self, criterion: str) -> Task:
        """The task, for a criterion that needs it.

        Raises:
            ParameterError: The task is missing or has no image.
        """
        if self.task is None or not self.task.batches:
            raise ParameterError(
                f"criterion '{criterion}' needs labelled images; give some, or choose l1, which needs none"
            )
        return self.task


@dataclass(frozen=True)
class Criterion:
    """A measure of importance.

    Attributes:
        score: Function that gives the scores, (n_units,) float64: larger for more important units, infinite
            for units that must stay.
        by_layer: Whether scores are divided by the Euclidean norm of the scores of their layer before layers
            are compared (Molchanov et al. 2017, section 2.2).
    """

    score: Callable[[Scoring], Tensor]
    by_layer: bool


def l1(scoring: Scoring) -> Tensor:
    """Mean magnitude of the kernels that make a unit, (n_units,) float64."""
    state = scoring.network.state_dict()
    kernels = {name: tensor for name, tensor in state.items() if tensor.ndim > 1}
    means: dict[tuple[str, int], Tensor] = {}
    scores = []
    for unit in scoring.channels.units:
        found = []
        for name, dim, channel in unit.makers:
            if name in kernels:
                if (name, dim) not in means:
                    means[name, dim] = kernels[name].double().abs().movedim(dim, 0).flatten(1).mean(1)
                found.append(float(means[name, dim][channel]))
        scores.append(sum(found) / max(len(found), 1))
    return torch.tensor(scores, dtype=torch.float64)


def batch_norm(scoring: Scoring) -> Tensor:
    """Mean magnitude of the scales of the normalisations that make a unit, (n_units,) float64.

    Units without a normalisation, such as those between the two convolutions of an asymmetric bottleneck, get
    infinity: they stay.

    Raises:
        UnavailableError: No unit has a normalisation.
    """
    scales = {
        f'{name}.weight': module.weight.detach().double().abs()
        for name, module in scoring.network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None
    }
    scores = []
    for unit in scoring.channels.units:
        found = [float(scales[name][channel]) for name, _, channel in unit.makers if name in scales]
        scores.append(sum(found) / len(found) if found else math.inf)
    if scores and min(scores) == math.inf:
        raise UnavailableError(
            "criterion 'batch_norm' needs units with batch normalisation, which this network does not have; "
            'choose l1 or taylor'
        )
    return torch.tensor(scores, dtype=torch.float64)


def taylor(scoring: Scoring) -> Tensor:
    """First-order estimate of the change of the loss when a unit is set to zero, (n_units,) float64.

    Equation 7 of Molchanov et al. with the sum over positions instead of the mean, which is a constant factor
    in a layer: |sum of activation times gradient|, mean over the images. The activations are those that
    convolutions read, after normalisation and slope. The sum is the gradient of a gate that multiplies them.
    A convolution is linear, so it equals the sum of weight times gradient over the weights that read them,
    which costs nothing beyond the backward pass.
    """
    task = scoring.needed_task('taylor')
    readers = _gather(scoring.channels.units)
    weights = {
        name: scoring.network.get_parameter(name).detach().requires_grad_()
        for name in dict.fromkeys(name for name, _ in readers)
    }
    total, n_images = torch.zeros(len(scoring.channels.units), dtype=torch.float64), 0
    if not weights:
        return total
    device = _device(scoring.network)
    with evaluating(scoring.network):
        wrapped = ImageNetwork(scoring.network, task.normalisation).to(device)
        renamed = {f'network.{name}': weight for name, weight in weights.items()}
        for images, labels in task.batches:
            for image, truth in zip(torch.split(images, 1), torch.split(labels, 1), strict=True):
                scores = functional_call(wrapped, renamed, (image.to(device),))
                loss = task.loss(scores, truth.to(device))
                slopes = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
                gates = torch.zeros_like(total)
                for (name, dim), (numbers, channels) in readers.items():
                    products = (weights[name].detach() * slopes[name]).movedim(dim, 0).flatten(1).sum(1)
                    gates.index_add_(0, numbers, products[channels.to(products.device)].double().cpu())
                total += gates.abs()
                n_images += 1
    return total / n_images


def random(scoring: Scoring) -> Tensor:
    """Random numbers in 0..1, the baseline of all criteria, (n_units,) float64."""
    generator = torch.Generator().manual_seed(scoring.seed)
    return torch.rand(len(scoring.channels.units), dtype=torch.float64, generator=generator)


def energy(scoring: Scoring) -> Tensor:
    """Importance per saved picojoule, by ``taylor`` with images and by ``l1`` without.

    Importance is compared by layer before it is divided; see :func:`seg_ros.networks.graph.savings.savings`.
    """
    score = taylor(scoring) if scoring.task is not None and scoring.task.batches else l1(scoring)
    saved = savings(scoring.network, scoring.channels, 'energy')
    return by_layer(score, scoring.channels) / saved.clamp_min(1e-12)


CRITERIA: dict[str, Criterion] = {
    'batch_norm': Criterion(batch_norm, by_layer=False),
    'energy': Criterion(energy, by_layer=False),
    'l1': Criterion(l1, by_layer=True),
    'random': Criterion(random, by_layer=False),
    'taylor': Criterion(taylor, by_layer=True),
}
"""Criteria by name."""


def importance(
    network: nn.Module,
    channels: ChannelMap,
    criterion: str = 'taylor',
    *,
    task: Task | None = None,
    seed: int = 0,
) -> Tensor:
    """Importance of each unit, comparable over all layers, (n_units,) float64.

    Args:
        network: Network to score, in any mode; not changed.
        channels: Its present channels.
        criterion: Name in CRITERIA.
        task: Labelled images; required by ``taylor``, used by ``energy``.
        seed: Seed of ``random``.

    Raises:
        UnknownNameError: The criterion is unknown.
        ParameterError: The criterion needs images and there are none.
        UnavailableError: The network lacks the layers that the criterion scores.
    """
    if criterion not in CRITERIA:
        raise UnknownNameError('criterion', criterion, sorted(CRITERIA))
    entry = CRITERIA[criterion]
    score = entry.score(Scoring(network, channels, task, seed))
    return by_layer(score, channels) if entry.by_layer else score


def by_layer(score: Tensor, channels: ChannelMap) -> Tensor:
    """Divide scores (n_units,) by the Euclidean norm of the scores of their layer."""
    result = score.clone()
    for numbers in channels.layers.values():
        result[list(numbers)] /= score[list(numbers)].norm().clamp_min(1e-30)
    return result


def oracle_importance(
    network: nn.Module, channels: ChannelMap, task: Task, numbers: Sequence[int] | None = None
) -> Tensor:
    """Measured change of the loss without each unit alone; negative if the loss falls.

    A unit is set to zero at all convolutions that read it, which gives the same scores as its removal.

    Args:
        network: Network to score, in any mode; not changed.
        channels: Its present channels.
        task: Labelled images.
        numbers: Numbers of the units to measure; None = all.

    Returns:
        (len(numbers),) float64.
    """
    wanted = range(len(channels.units)) if numbers is None else numbers
    before = task.mean_loss(network)
    changes = []
    for number in wanted:
        with _silenced(network, channels.units[number]):
            changes.append(task.mean_loss(network) - before)
    return torch.tensor(changes, dtype=torch.float64)


def block_importance(network: nn.Module, blocks: Sequence[str], task: Task) -> dict[str, float]:
    """Measured change of the loss without each block alone; negative if the loss falls.

    Args:
        network: Network to score, in any mode; not changed.
        blocks: Names of blocks, from :func:`seg_ros.networks.graph.channels.removable_blocks`.
        task: Labelled images.
    """
    before = task.mean_loss(network)
    changes = {}
    for name in blocks:
        with without_block(network, name):
            changes[name] = task.mean_loss(network) - before
    return changes


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two (n,) vectors, -1..1; NaN if one of them is constant."""
    ranks = []
    for values in (first, second):
        _, inverse, counts = np.unique(values.numpy(), return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    if min(r.std() for r in ranks) == 0:
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch a network to evaluation mode; afterwards each module has its own mode again."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def without_block(network: nn.Module, name: str) -> Iterator[None]:
    """Replace a block by ``nn.Identity`` within the context."""
    parent, _, leaf = name.rpartition('.')
    block = network.get_submodule(name)
    remove_block(network, name)
    try:
        yield
    finally:
        setattr(network.get_submodule(parent), leaf, block)


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device('cpu'))


@contextmanager
def _silenced(network: nn.Module, unit: Unit) -> Iterator[None]:
    """Set the weights that read a unit to zero within the context."""
    slices = [network.get_parameter(p.name).data.select(p.dim, p.channel) for p in unit.readers]
    before = [part.clone() for part in slices]
    try:
        for part in slices:
            part.zero_()
        yield
    finally:
        for part, values in zip(slices, before, strict=True):
            part.copy_(values)


def _gather(units: Sequence[Unit]) -> dict[tuple[str, int], tuple[Tensor, Tensor]]:
    """(tensor, dimension) -> numbers of the units that it reads, and their channels in it."""
    found: dict[tuple[str, int], tuple[list[int], list[int]]] = {}
    for number, unit in enumerate(units):
        for name, dim, channel in unit.readers:
            numbers, channels = found.setdefault((name, dim), ([], []))
            numbers.append(number)
            channels.append(channel)
    return {key: (torch.tensor(numbers), torch.tensor(chans)) for key, (numbers, chans) in found.items()}
