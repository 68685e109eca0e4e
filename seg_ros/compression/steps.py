"""Compression steps: each makes a smaller model file from a model file."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UNLABELLED
from seg_ros.compression.context import CompressionContext, CompressionStep, float_copy
from seg_ros.compression.cost_target import CostTarget, example_of
from seg_ros.compression.importance import Task
from seg_ros.compression.prune import prune_to, remove_blocks_to
from seg_ros.compression.sparsity import sparsify
from seg_ros.compression.statistics import refresh_statistics
from seg_ros.errors import BudgetError, RecipeError, look_up
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.graph.channels import removable_blocks
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.int8 import calibrate
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.batch_norm_statistics import has_statistics
from seg_ros.training.export import export_model
from seg_ros.training.initial_network import EMBEDDINGS_LEFT_OUT
from seg_ros.training.sparsity import SPARSITY_KEY

log = logging.getLogger(__name__)

_Rounds = Annotated[int, Meta(ge=1, le=100)]


class _LearnsAfterwards:
    """Base of steps that may train the network when they are done."""

    learn: dict[str, Any]

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe; empty without ``epochs``."""
        return self.learn if self.learn.get('epochs') else {}


@dataclass(frozen=True)
class Prune(_LearnsAfterwards):
    """Remove channels from a network.

    Attributes:
        to: Maximum cost of the pruned network.
        criterion: Name in seg_ros.compression.importance.CRITERIA.
        per: Divide importance by the savings of a channel: 'macs', 'parameters', 'bytes', 'energy' or
            'latency'; None = do not divide.
        step: Fraction of the cost that is removed before channels are scored again.
        floor: Minimum fraction of its channels that each layer keeps.
        multiple: Number of channels is rounded to a multiple of this.
        images: Number of images for scoring.
        statistics: Whether the statistics of batch normalisations are computed anew on these images.
        rounds: Number of rounds of pruning and learning, see :func:`in_rounds`.
        learn: Keys of a training recipe for fine-tuning after pruning; no fine-tuning without ``epochs``.
        seed: Seed of criterion 'random'.
    """

    to: CostTarget
    criterion: str = 'taylor'
    per: str | None = None
    step: float = 0.1
    floor: float = 0.1
    multiple: int = 1
    images: int = 64
    statistics: bool = True
    rounds: _Rounds = 1
    learn: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def split(self) -> 'list[Prune]':
        """The rounds as steps of their own; the cost falls by the same factor in each."""
        return [replace(self, to=to, rounds=1) for to in self.to.in_rounds(self.rounds)]

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Prune the network and write it."""
        network, task = float_copy(model), _task(self.images, model, context)
        steps = prune_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            criterion=self.criterion,
            task=task,
            per=self.per,
            step=self.step,
            floor_fraction=self.floor,
            multiple=self.multiple,
            seed=self.seed,
            after_step=_refresher(task) if self.statistics else None,
        )
        log.info('pruned in %d steps: %s', len(steps), ', '.join(f'{step.amount:.4g}' for step in steps))
        export_model(path, network, _pruned(model, []))


@dataclass(frozen=True)
class RemoveBlocks(_LearnsAfterwards):
    """Remove whole residual blocks from a network.

    Attributes:
        to: Maximum cost of the smaller network.
        most: Maximum number of blocks to remove, even if the network still costs too much; None = no limit.
        images: Number of images for scoring.
        statistics: As in :class:`Prune`.
        learn: As in :class:`Prune`.
    """

    to: CostTarget
    most: int | None = None
    images: int = 64
    statistics: bool = True
    learn: dict[str, Any] = field(default_factory=dict)

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Remove blocks and write the network."""
        network = float_copy(model)
        if not removable_blocks(network, example_of(model)):
            raise BudgetError(f'{model.metadata.architecture} has no removable block; prune channels instead')
        task = _task(self.images, model, context)
        steps = remove_blocks_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            task,
            n_most=self.most,
            after_step=_refresher(task) if self.statistics else None,
        )
        removed = [name for step in steps for name in step.blocks]
        log.info('removed %s', ', '.join(removed) or 'nothing')
        export_model(path, network, _pruned(model, removed))


@dataclass(frozen=True)
class Rebuild(_LearnsAfterwards):
    """Build a network again with other arguments, for example with activations that a device computes faster.

    Weights that fit the new network are kept. Others are random, so the network should learn afterwards.
    Removed blocks stay removed.

    Attributes:
        arguments: Arguments of the architecture, added to the present ones.
        learn: As in :class:`Prune`.
    """

    arguments: dict[str, Any]
    learn: dict[str, Any] = field(default_factory=dict)

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Build the network, copy the weights that fit, and write it."""
        original, learned = model.metadata, float_copy(model).state_dict()
        whole = original.build().state_dict()
        if any(whole[name].shape != tensor.shape for name, tensor in learned.items()):
            raise RecipeError(
                'rebuild: the network has pruned channels; put this step before those that prune'
            )
        metadata = replace(_derived(model), arguments={**original.arguments, **self.arguments})
        network = metadata.build()
        own = network.state_dict()
        kept = {k: v for k, v in learned.items() if k in own and v.shape == own[k].shape}
        network.load_state_dict(own | kept)
        log.info('kept %d of %d tensors', len(kept), len(own))
        export_model(path, network, metadata)


@dataclass(frozen=True)
class Sparsify(_LearnsAfterwards):
    """Set the smallest weights to zero; learning afterwards, and later steps, keep the zeros.

    In rounds it is the pruning of S. Han, J. Pool, J. Tran, W. Dally, "Learning both weights and connections
    for efficient neural networks", NIPS 2015, section 3.4.

    Attributes:
        share: Fraction of the weights that become zero, 0..1.
        scope: 'layer' for the same fraction of each kernel, 'global' for all kernels together.
        images: Number of images for the statistics of batch normalisations.
        statistics: Whether these statistics are computed anew.
        rounds: Number of rounds, see :func:`in_rounds`.
        learn: As in :class:`Prune`.
    """

    share: float
    scope: str = 'layer'
    images: int = 64
    statistics: bool = True
    rounds: _Rounds = 1
    learn: dict[str, Any] = field(default_factory=dict)

    def split(self) -> 'list[Sparsify]':
        """The rounds as steps of their own; the weights that are left fall by the same factor in each."""
        shares = [1 - (1 - self.share) ** (number / self.rounds) for number in range(1, self.rounds)]
        return [replace(self, share=share, rounds=1) for share in (*shares, self.share)]

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Set weights to zero and write the network."""
        network = float_copy(model)
        sparsify(network, self.share, scope=self.scope)
        if self.statistics and has_statistics(network):
            refresh_statistics(network, _task(self.images, model, context))
        metadata = _derived(model)
        record = {SPARSITY_KEY: {'share': self.share, 'scope': self.scope}}
        export_model(path, network, replace(metadata, training={**metadata.training, **record}))


@dataclass(frozen=True)
class Learn:
    """Train further, with the first model of the chain as the teacher.

    Attributes:
        recipe: Keys of a training recipe, added to those that the chain shares.
    """

    recipe: dict[str, Any]

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe."""
        return self.recipe

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Write the network with metadata that name its parent."""
        metadata = model.metadata
        export_model(path, float_copy(model), replace(_derived(model), pruned=metadata.pruned))


@dataclass(frozen=True)
class Quantize:
    """Quantize a network.

    Attributes:
        level: Name in seg_ros.quantization.levels.QUANTIZATIONS.
        method: Method of calibration: 'minmax', 'percentile' or 'mse'; int8 only.
        images: Number of images for calibration; int8 only.
        learn: Keys of a training recipe for training with rounding; no training without ``epochs``.
    """

    level: str = 'int8'
    method: str = 'mse'
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        look_up(QUANTIZATIONS, self.level, 'quantization level')

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe, with rounding to the level; empty without ``epochs``."""
        return {**self.learn, 'quantization': self.level} if self.learn.get('epochs') else {}

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Calibrate if the level needs it, round if the network does not learn, and write it."""
        network = float_copy(model)
        metadata = _derived(model, keeps_embeddings=True, keeps_codes=not self.learning)
        if QUANTIZATIONS[self.level].dtype == torch.int8:
            images = context.images(self.images, metadata)
            run = ImageNetwork(network, metadata.normalisation).eval()
            ranges = calibrate(network, images, run, method=self.method)
            sources = ' + '.join(f'{source.dataset} {source.split}' for source in context.train)
            record = {
                'method': self.method,
                'data': f'{len(images)} images of {sources}',
                'ranges': {name: [_short(low), _short(high)] for name, (low, high) in ranges.items()},
            }
            metadata = replace(metadata, calibration=record)
        if not self.learning:
            metadata = replace(metadata, quantization=self.level)
        export_model(path, network, metadata, model.embeddings, model.codes)


@dataclass(frozen=True)
class Share:
    """Share weights: each kernel has few different values. Short for :class:`Quantize` to ``shared-N``.

    Attributes:
        bits: Number of bits of an index into the codebook, 2..8.
        learn: As in :class:`Quantize`.
    """

    bits: int = 5
    learn: dict[str, Any] = field(default_factory=dict)

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe for the shared values; empty without ``epochs``."""
        return self._as_quantize().learning

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Share weights and write the network."""
        self._as_quantize().prepare(model, path, context)

    def _as_quantize(self) -> Quantize:
        return Quantize(f'shared-{self.bits}', learn=self.learn)


STEPS: dict[str, type[CompressionStep]] = {
    'prune': Prune,
    'rebuild': Rebuild,
    'remove_blocks': RemoveBlocks,
    'sparsify': Sparsify,
    'learn': Learn,
    'quantize': Quantize,
    'share': Share,
}
"""Steps by their names in recipes."""


def in_rounds(step: CompressionStep) -> list[CompressionStep]:
    """A step as the steps to take one after the other.

    With ``rounds``, pruning and learning alternate: each round prunes a part and then learns, because a
    network that has learnt after few losses bears more of them (Han et al., NIPS 2015, section 3.4).
    """
    return list(step.split()) if isinstance(step, (Prune, Sparsify)) and step.rounds > 1 else [step]


def _derived(model: Model, *, keeps_embeddings: bool = False, keeps_codes: bool = False) -> ModelMetadata:
    """Metadata of a float model made from another one, without codes and embeddings unless they are kept."""
    metadata = model.metadata
    codes = metadata.codes if keeps_codes else None
    if codes is not metadata.codes:
        log.warning(
            'the codes are left out: they belong to the network before this step; '
            'seg_ros fit-codes makes new ones'
        )
    embeddings = metadata.embeddings if keeps_embeddings else None
    if embeddings is not metadata.embeddings:
        log.warning(EMBEDDINGS_LEFT_OUT)
    parent = metadata.parent if metadata.training.get('compressed') else None
    return replace(
        metadata,
        quantization='fp32',
        calibration=None,
        codes=codes,
        embeddings=embeddings,
        figures={},
        parent=parent or {'digest': model.digest, 'file': model.path.name, 'figures': metadata.figures},
        training={**metadata.training, 'compressed': True},
    )


def _pruned(model: Model, removed: list[str]) -> ModelMetadata:
    """Metadata of a pruned model, with the blocks removed in this and earlier steps."""
    before = (model.metadata.pruned or {}).get('removed', [])
    return replace(_derived(model), pruned={'removed': [*before, *removed]})


def _refresher(task: Task) -> Callable[[nn.Module], None]:
    """A function that computes the statistics of a network's normalisations anew."""
    return lambda network: refresh_statistics(network, task)


def _task(n_images: int, model: Model, context: CompressionContext) -> Task:
    """Images and loss for scoring."""

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels.long(), ignore_index=UNLABELLED)

    samples = context.samples(n_images, model.metadata)
    return Task(samples, loss, model.metadata.normalisation)


def _short(value: float) -> float:
    """Round to five significant digits, more than calibration determines."""
    return float(f'{value:.5g}')
