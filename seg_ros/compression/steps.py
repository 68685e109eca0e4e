"""The steps by which a model becomes smaller: each makes a model file from a model file."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UNLABELLED
from seg_ros.compression.context import CompressionContext, CompressionStep, float_copy
from seg_ros.compression.importance import Task
from seg_ros.compression.prune import Budget, prune_to, remove_blocks_to
from seg_ros.compression.sparsity import sparsify
from seg_ros.errors import BudgetError, RecipeError, look_up
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.precision import network_at
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.graph.channels import removable_blocks
from seg_ros.networks.graph.measure import measure_latency
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.int8 import calibrate
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.export import export_model
from seg_ros.training.initial_network import EMBEDDINGS_LEFT_OUT

log = logging.getLogger(__name__)


class _LearnsAfterwards:
    """What steps share that may learn when they are done."""

    learn: dict[str, Any]

    @property
    def learning(self) -> dict[str, Any]:
        """As the protocol says."""
        return self.learn if self.learn.get('epochs') else {}


@dataclass(frozen=True)
class CostTarget:
    """What a pruned network may cost.

    Attributes:
        kind: 'macs', 'parameters', 'bytes' (at ``level``), or 'latency' (milliseconds, measured).
        limit: the most it may be, absolute.
        share: of what it is now, instead of ``limit``; above 0, below 1.
        level: quantisation level that bytes are counted at.
        backend: that latency is measured with.
    """

    kind: str = 'macs'
    limit: float | None = None
    share: float | None = None
    level: str = 'fp32'
    backend: str = 'torch'

    def __post_init__(self) -> None:
        if (self.limit is None) == (self.share is None):
            raise RecipeError(f'limit {self.limit}, share {self.share}; expected one of the two')
        if self.share is not None and not 0 < self.share < 1:
            raise RecipeError(f'share is {self.share}; expected more than 0, less than 1')
        look_up(QUANTIZATIONS, self.level, 'quantization level')
        look_up(BACKENDS, self.backend, 'backend')

    def budget(self, network: nn.Module, model: Model) -> Budget:
        """The budget for a network, at the model's input size."""

        def measure(smaller: nn.Module) -> float:
            frames = FrameNetwork(network_at(smaller, model.metadata, 'fp32')).eval()
            size = model.metadata.input_size
            backend = BACKENDS[self.backend](frames, size, torch.device('cpu'), 0)
            images = torch.zeros(1, *size, 3, dtype=torch.uint8)
            return measure_latency(lambda: backend(images))

        measured = measure if self.kind == 'latency' else None
        if self.limit is not None:
            return Budget(self.kind, self.limit, self.level, measured)
        now = Budget(self.kind, 1, self.level, measured).amount(network, example_of(model))
        return Budget(self.kind, float(self.share or 1) * now, self.level, measured)


@dataclass(frozen=True)
class Prune(_LearnsAfterwards):
    """Take channels out of a network.

    Attributes:
        to: what it may cost.
        criterion: name in seg_ros.compression.importance.CRITERIA.
        per: divide importance by what a channel saves: 'macs', 'parameters', 'energy' or 'latency'.
        step: share of the cost that goes between two scorings.
        floor: share of its channels that each layer keeps at least.
        multiple: that numbers of channels are rounded to.
        images: to score on.
        learn: keys of a training recipe, to fine-tune when the last channel is gone; none without ``epochs``.
        seed: of which images and, for 'random', which channels.
    """

    to: CostTarget
    criterion: str = 'taylor'
    per: str | None = None
    step: float = 0.1
    floor: float = 0.1
    multiple: int = 1
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Prune."""
        network = float_copy(model)
        steps = prune_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            criterion=self.criterion,
            task=_task(self.images, model, context),
            per=self.per,
            step=self.step,
            floor_share=self.floor,
            multiple=self.multiple,
            seed=self.seed,
        )
        log.info('pruned in %d steps: %s', len(steps), ', '.join(f'{step.amount:.4g}' for step in steps))
        export_model(path, network, _pruned(model, []))


@dataclass(frozen=True)
class RemoveBlocks(_LearnsAfterwards):
    """Take whole residual blocks out of a network.

    Attributes:
        to: what it may cost.
        most: stop after so many blocks, even where it costs more still; None for no bound.
        images: to score on.
        learn: as in :class:`Prune`.
    """

    to: CostTarget
    most: int | None = None
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Remove."""
        network = float_copy(model)
        if not removable_blocks(network, example_of(model)):
            raise BudgetError(f'{model.metadata.architecture} has no block that it could do without')
        steps = remove_blocks_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            _task(self.images, model, context),
            n_most=self.most,
        )
        removed = [name for step in steps for name in step.blocks]
        log.info('removed %s', ', '.join(removed) or 'nothing')
        export_model(path, network, _pruned(model, removed))


@dataclass(frozen=True)
class Rebuild(_LearnsAfterwards):
    """Build a network anew with other arguments, for instance with activations that a device computes faster.

    Weights that have a place in it are kept; others start anew, so there should be learning after it. Blocks
    that were removed stay out.

    Attributes:
        arguments: of the architecture, on top of those that it has.
        learn: as in :class:`Prune`.
    """

    arguments: dict[str, Any]
    learn: dict[str, Any] = field(default_factory=dict)

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Build."""
        original, learned = model.metadata, float_copy(model).state_dict()
        whole = original.build().state_dict()
        if any(whole[name].shape != tensor.shape for name, tensor in learned.items()):
            raise RecipeError('rebuild: channels are pruned already; put this step before those that prune')
        metadata = replace(_derived(model), arguments={**original.arguments, **self.arguments})
        network = metadata.build()
        own = network.state_dict()
        kept = {k: v for k, v in learned.items() if k in own and v.shape == own[k].shape}
        network.load_state_dict(own | kept)
        log.info('kept %d of %d tensors', len(kept), len(own))
        export_model(path, network, metadata)


@dataclass(frozen=True)
class Sparsify:
    """Set the smallest weights to zero; what is left may learn on, and :class:`Share` keeps the zeros.

    Attributes:
        share: of the weights that become zero, 0..1.
        scope: 'layer' or 'global'.
    """

    share: float
    scope: str = 'layer'

    @property
    def learning(self) -> dict[str, Any]:
        """None."""
        return {}

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Sparsify."""
        network = float_copy(model)
        sparsify(network, self.share, scope=self.scope)
        export_model(path, network, _derived(model))


@dataclass(frozen=True)
class Learn:
    """Train on, with the model that the chain starts from as the teacher.

    Attributes:
        recipe: keys of a training recipe, on top of those that the chain shares.
    """

    recipe: dict[str, Any]

    @property
    def learning(self) -> dict[str, Any]:
        """The recipe."""
        return self.recipe

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Nothing to do but to say what it comes from."""
        metadata = model.metadata
        export_model(path, float_copy(model), replace(_derived(model), pruned=metadata.pruned))


@dataclass(frozen=True)
class Quantize:
    """Bring a network to a quantisation level.

    Attributes:
        level: name in seg_ros.quantization.levels.QUANTIZATIONS.
        method: of calibration: 'minmax', 'percentile' or 'mse'; int8 only.
        images: to calibrate on.
        learn: keys of a training recipe for training with rounding; none without ``epochs``.
    """

    level: str = 'int8'
    method: str = 'mse'
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        look_up(QUANTIZATIONS, self.level, 'quantization level')

    @property
    def learning(self) -> dict[str, Any]:
        """With rounding."""
        return {**self.learn, 'quantization': self.level} if self.learn.get('epochs') else {}

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Calibrate where the level needs it; round where nothing is to be learnt."""
        network = float_copy(model)
        metadata = _derived(model, keeps_embeddings=True)
        if QUANTIZATIONS[self.level].dtype == torch.int8:
            images = [image for image, _ in context.samples(self.images, metadata)]
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
        export_model(path, network, metadata, model.embeddings)


@dataclass(frozen=True)
class Share:
    """Let weights share a few values; a shorthand for :class:`Quantize` with level ``shared-N``.

    Attributes:
        bits: of an index, 2..8.
        learn: as in :class:`Quantize`.
    """

    bits: int = 5
    learn: dict[str, Any] = field(default_factory=dict)

    @property
    def learning(self) -> dict[str, Any]:
        """Of the values."""
        return self._as_quantize().learning

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Share."""
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
"""What a chain may be made of."""


def example_of(model: Model) -> Tensor:
    """(1, 3, H, W) float zeros of a model's input size."""
    return torch.zeros(1, 3, *model.metadata.input_size)


def _derived(model: Model, *, keeps_embeddings: bool = False) -> ModelMetadata:
    """Description of a float model made from another one: without what reads the network as it was."""
    metadata = model.metadata
    if metadata.codes is not None:
        log.warning(
            'the codes are left out: they belong to the network as it was; seg_ros fit-codes makes new ones'
        )
    embeddings = metadata.embeddings if keeps_embeddings else None
    if embeddings is not metadata.embeddings:
        log.warning(EMBEDDINGS_LEFT_OUT)
    parent = metadata.parent if metadata.training.get('compressed') else None
    return replace(
        metadata,
        quantization='fp32',
        calibration=None,
        codes=None,
        embeddings=embeddings,
        figures={},
        parent=parent or {'digest': model.digest, 'file': model.path.name, 'figures': metadata.figures},
        training={**metadata.training, 'compressed': True},
    )


def _pruned(model: Model, removed: list[str]) -> ModelMetadata:
    before = (model.metadata.pruned or {}).get('removed', [])
    return replace(_derived(model), pruned={'removed': [*before, *removed]})


def _task(n_images: int, model: Model, context: CompressionContext) -> Task:
    """What importance is measured on."""

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels.long(), ignore_index=UNLABELLED)

    samples = context.samples(n_images, model.metadata)
    return Task(samples, loss, model.metadata.normalisation)


def _short(value: float) -> float:
    """Five digits, which is more than a range is known to."""
    return float(f'{value:.5g}')
