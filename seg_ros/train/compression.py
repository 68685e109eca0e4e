"""Compression recipes: a chain of steps, each of which makes a model file from a model file.

A step is finished when its file is there, so a chain that was stopped goes on where it was; a step whose
settings, or those of a step before it, have changed is done again.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.checkpoint import Model, ModelDescription, load_model
from seg_ros.choice import network_at
from seg_ros.compress.channels import removable_blocks
from seg_ros.compress.cost import measure_latency
from seg_ros.compress.importance import Task
from seg_ros.compress.prune import Budget, prune_to, remove_blocks_to
from seg_ros.compress.quantize import calibrate
from seg_ros.compress.sparsity import sparsify
from seg_ros.errors import BudgetError, CalibrationError, RecipeError
from seg_ros.image import FrameNetwork, ImageNetwork, resize_image
from seg_ros.registry import BACKENDS, QUANTIZATIONS, look_up
from seg_ros.train.distributed import Processes
from seg_ros.train.loop import BEST_FILE, LAST_FILE, Trainer
from seg_ros.train.recipe import Recipe, Source, build_dataclass, read_recipe
from seg_ros.train.start import find_file, open_source
from seg_ros.types import UNLABELLED
from seg_ros.writing import write_model

log = logging.getLogger(__name__)

T = TypeVar('T')

FEWEST_IMAGES = 4
"""Images that calibration and scoring take at least."""
DONE_FILE = 'steps.json'


@dataclass(frozen=True)
class Workplace:
    """What steps work with besides the model.

    Attributes:
        train: data to score, calibrate and learn on.
        validation: data to measure on after learning; may be None.
        data: root of the data sets; None for data that needs no folder.
        processes: that learn together.
        learning: keys of a training recipe that all learning shares.
        teacher: file of the model that the chain starts from.
    """

    train: tuple[Source, ...]
    validation: Source | None
    data: Path | None
    processes: Processes
    learning: dict[str, Any]
    teacher: Path

    def samples(
        self, n_images: int, description: ModelDescription, size: tuple[int, int] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Labelled training images, evenly drawn from all there are, at the network's input size.

        Returns:
            (1, H, W, 3) uint8 RGB and (1, H, W) uint8 each.

        Raises:
            CalibrationError: there are fewer than four.
            RecipeError: the data have other classes than the model.
        """
        datasets = [open_source(source, self.data) for source in self.train]
        for source, dataset in zip(self.train, datasets, strict=True):
            if dataset.classes != description.classes:
                raise RecipeError(
                    f'{source.dataset} {source.split} has classes {dataset.classes.names}; '
                    f'expected those of the model: {description.classes.names}'
                )
        where = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        if min(len(where), n_images) < FEWEST_IMAGES:
            raise CalibrationError(
                f'{min(len(where), n_images)} images to measure on; expected {FEWEST_IMAGES} or more'
            )
        chosen = [where[k * len(where) // n_images] for k in range(min(n_images, len(where)))]
        return [_sample(*dataset[index], size or description.input_size) for dataset, index in chosen]


class Step(Protocol):
    """One link of the chain."""

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Write the model file ``path``, made of ``model``; a folder beside it may keep what it needs."""
        ...


@dataclass(frozen=True)
class Cost:
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
            frames = FrameNetwork(network_at(smaller, model.description, 'fp32')).eval()
            size = model.description.input_size
            backend = BACKENDS[self.backend](frames, size, torch.device('cpu'), 0)
            images = torch.zeros(1, *size, 3, dtype=torch.uint8)
            return measure_latency(lambda: backend(images))

        measured = measure if self.kind == 'latency' else None
        if self.limit is not None:
            return Budget(self.kind, self.limit, self.level, measured)
        now = Budget(self.kind, 1, self.level, measured).amount(network, example_of(model))
        return Budget(self.kind, float(self.share or 1) * now, self.level, measured)


@dataclass(frozen=True)
class Prune:
    """Take channels out of a network.

    Attributes:
        to: what it may cost.
        criterion: name in seg_ros.compress.importance.CRITERIA.
        per: divide importance by what a channel saves: 'macs', 'parameters', 'energy' or 'latency'.
        step: share of the cost that goes between two scorings.
        floor: share of its channels that each layer keeps at least.
        multiple: that numbers of channels are rounded to.
        images: to score on.
        learn: keys of a training recipe, to fine-tune when the last channel is gone; none without ``epochs``.
        seed: of which images and, for 'random', which channels.
    """

    to: Cost
    criterion: str = 'taylor'
    per: str | None = None
    step: float = 0.1
    floor: float = 0.1
    multiple: int = 1
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Prune, and learn on."""
        network = _float_network(model)
        steps = prune_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            criterion=self.criterion,
            task=_task(self.images, model, workplace),
            per=self.per,
            step=self.step,
            floor_share=self.floor,
            multiple=self.multiple,
            seed=self.seed,
        )
        log.info('pruned in %d steps: %s', len(steps), ', '.join(f'{step.amount:.4g}' for step in steps))
        _finish(network, _pruned(model, []), path, self.learn, workplace)


@dataclass(frozen=True)
class RemoveBlocks:
    """Take whole residual blocks out of a network.

    Attributes:
        to: what it may cost.
        most: stop after so many blocks, even where it costs more still; None for no bound.
        images: to score on.
        learn: as in :class:`Prune`.
    """

    to: Cost
    most: int | None = None
    images: int = 64
    learn: dict[str, Any] = field(default_factory=dict)

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Remove, and learn on."""
        network = _float_network(model)
        if not removable_blocks(network, example_of(model)):
            raise BudgetError(f'{model.description.architecture} has no block that it could do without')
        steps = remove_blocks_to(
            network,
            example_of(model),
            self.to.budget(network, model),
            _task(self.images, model, workplace),
            n_most=self.most,
        )
        removed = [name for step in steps for name in step.blocks]
        log.info('removed %s', ', '.join(removed) or 'nothing')
        _finish(network, _pruned(model, removed), path, self.learn, workplace)


@dataclass(frozen=True)
class Rebuild:
    """Build a network anew with other arguments, for instance with activations that a device computes faster.

    Weights that have a place in it are kept; others start anew, so there should be learning after it. Blocks
    that were removed stay out.

    Attributes:
        arguments: of the architecture, on top of those that it has.
        learn: as in :class:`Prune`.
    """

    arguments: dict[str, Any]
    learn: dict[str, Any] = field(default_factory=dict)

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Build, and learn on."""
        about, learned = model.description, _float_network(model).state_dict()
        whole = about.build().state_dict()
        if any(whole[name].shape != tensor.shape for name, tensor in learned.items()):
            raise RecipeError('rebuild: channels are pruned already; put this step before those that prune')
        description = replace(_derived(model), arguments={**about.arguments, **self.arguments})
        network = description.build()
        own = network.state_dict()
        kept = {k: v for k, v in learned.items() if k in own and v.shape == own[k].shape}
        network.load_state_dict(own | kept)
        log.info('kept %d of %d tensors', len(kept), len(own))
        _finish(network, description, path, self.learn, workplace)


@dataclass(frozen=True)
class Sparsify:
    """Set the smallest weights to zero; what is left may learn on, and :class:`Share` keeps the zeros.

    Attributes:
        share: of the weights that become zero, 0..1.
        scope: 'layer' or 'global'.
    """

    share: float
    scope: str = 'layer'

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Sparsify."""
        network = _float_network(model)
        sparsify(network, self.share, scope=self.scope)
        write_model(path, network, _derived(model))


@dataclass(frozen=True)
class Learn:
    """Train on, with the model that the chain starts from as the teacher.

    Attributes:
        recipe: keys of a training recipe, on top of those that the chain shares.
    """

    recipe: dict[str, Any]

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Train."""
        _learn(model, path, self.recipe, workplace)


@dataclass(frozen=True)
class Quantize:
    """Bring a network to a quantisation level.

    Attributes:
        level: name in seg_ros.registry.QUANTIZATIONS.
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

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Calibrate where the level needs it, learn on, and round."""
        network, description = _float_network(model), _derived(model)
        if QUANTIZATIONS[self.level].dtype == torch.int8:
            images = [image for image, _ in workplace.samples(self.images, description)]
            run = ImageNetwork(network, description.normalisation).eval()
            ranges = calibrate(network, images, run, method=self.method)
            sources = ' + '.join(f'{source.dataset} {source.split}' for source in workplace.train)
            record = {
                'method': self.method,
                'data': f'{len(images)} images of {sources}',
                'ranges': {name: [_short(low), _short(high)] for name, (low, high) in ranges.items()},
            }
            description = replace(description, calibration=record)
        learn = {**self.learn, 'quantization': self.level} if self.learn.get('epochs') else {}
        if learn:
            _finish(network, description, path, learn, workplace)
        else:
            write_model(path, network, replace(description, quantization=self.level))


@dataclass(frozen=True)
class Share:
    """Let weights share a few values; a shorthand for :class:`Quantize` with level ``shared-N``.

    Attributes:
        bits: of an index, 2..8.
        learn: as in :class:`Quantize`.
    """

    bits: int = 5
    learn: dict[str, Any] = field(default_factory=dict)

    def run(self, model: Model, path: Path, workplace: Workplace) -> None:
        """Share, and let the values learn."""
        Quantize(f'shared-{self.bits}', learn=self.learn).run(model, path, workplace)


STEPS: dict[str, type[Step]] = {
    'prune': Prune,
    'rebuild': Rebuild,
    'remove_blocks': RemoveBlocks,
    'sparsify': Sparsify,
    'learn': Learn,
    'quantize': Quantize,
    'share': Share,
}
"""What a chain may be made of."""


@dataclass(frozen=True)
class CompressionRecipe:
    """A chain, and what must hold at its end.

    Attributes:
        model: file to start from: a path, or the name of a shipped model.
        train: data to score, calibrate and learn on.
        steps: one mapping each, from the name of a step to its settings.
        validation: data that learning is measured on.
        learning: keys of a training recipe that all learning shares, such as ``augment`` and ``loss``.
        bytes: the most that the last file may have; None for no bound.
    """

    model: str
    train: tuple[Source, ...]
    steps: tuple[dict[str, Any], ...]
    validation: Source | None = None
    learning: dict[str, Any] = field(default_factory=dict)
    bytes: int | None = None

    @classmethod
    def from_yaml(cls, path: Path, changes: Sequence[str] = ()) -> 'CompressionRecipe':
        """Read a recipe file; ``changes`` as in ``Recipe.from_yaml``.

        Raises:
            RecipeError: it cannot be read, a key or a step is unknown, or a value has the wrong type.
        """
        recipe = read_recipe(cls, path, changes)
        recipe.links()  # so that a wrong step is told before the first one has run for hours
        return recipe

    def links(self) -> list[tuple[str, Step]]:
        """The steps with their names.

        Raises:
            RecipeError: there is no such step, or its settings are wrong.
        """
        if not self.steps:
            raise RecipeError(f'steps: none; expected some of {", ".join(STEPS)}')
        return [_link(number, content) for number, content in enumerate(self.steps, start=1)]


def compress(recipe: CompressionRecipe, data: Path | None, folder: Path, processes: Processes) -> Path:
    """Run a chain, or what is left of it.

    Args:
        recipe: the chain.
        data: root of the data sets.
        folder: receives a file a step, ``1-prune.safetensors`` and so on.
        processes: that learn together.

    Returns:
        The last file.

    Raises:
        BudgetError: a budget cannot be met, or the last file is larger than it may be.
        RecipeError: a step does not fit the model, or there is more than one process.
    """
    if processes.world_size > 1:
        raise RecipeError(
            f'{processes.world_size} processes; a chain runs in one: for long learning, take the file of the '
            'step before as init of a training recipe, and run that under torchrun'
        )
    path = find_file(_file_name(recipe.model))
    workplace = Workplace(recipe.train, recipe.validation, data, processes, recipe.learning, path)
    folder.mkdir(parents=True, exist_ok=True)
    state = hashlib.sha256(path.read_bytes())
    state.update(json.dumps([dataclasses.asdict(s) for s in recipe.train] + [recipe.learning]).encode())
    for number, (name, step) in enumerate(recipe.links(), start=1):
        state.update(json.dumps([name, recipe.steps[number - 1]], sort_keys=True).encode())
        target = folder / f'{number}-{name}.safetensors'
        if target.is_file() and _read_done(folder).get(target.name) == state.hexdigest():
            log.info('step %d, %s: done before', number, name)
        else:
            log.info('step %d, %s', number, name)
            step.run(load_model(path), target, workplace)
            _write_done(folder, target.name, state.hexdigest())
        path = target
    n_bytes = path.stat().st_size
    if recipe.bytes is not None and n_bytes > recipe.bytes:
        raise BudgetError(
            f'{path} has {n_bytes:,} bytes; expected {recipe.bytes:,} at most: prune more, or take fewer bits'
        )
    return path


def example_of(model: Model) -> Tensor:
    """(1, 3, H, W) float zeros of a model's input size."""
    return torch.zeros(1, 3, *model.description.input_size)


def _float_network(model: Model) -> nn.Module:
    """A model's network to change; its file stays as it is.

    Raises:
        RecipeError: it has no classes, so that nothing says what matters.
    """
    if not len(model.description.classes):
        raise RecipeError(f'{model.path} tells no classes apart; compression needs labels to go by')
    return load_model(model.path).network


def _derived(model: Model) -> ModelDescription:
    """Description of a float model made from another one: no codes, which belong to the network as it was."""
    about = model.description
    if about.codes is not None:
        log.warning(
            'the codes are left out: they belong to the network as it was; seg_ros fit-codes makes new ones'
        )
    parent = about.parent if about.training.get('compressed') else None
    return replace(
        about,
        quantization='fp32',
        calibration=None,
        codes=None,
        figures={},
        parent=parent or {'digest': model.digest, 'file': model.path.name, 'figures': about.figures},
        training={**about.training, 'compressed': True},
    )


def _pruned(model: Model, removed: list[str]) -> ModelDescription:
    before = (model.description.pruned or {}).get('removed', [])
    return replace(_derived(model), pruned={'removed': [*before, *removed]})


def _task(n_images: int, model: Model, workplace: Workplace) -> Task:
    """What importance is measured on."""

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(scores, labels.long(), ignore_index=UNLABELLED)

    samples = workplace.samples(n_images, model.description)
    return Task(samples, loss, model.description.normalisation)


def _finish(
    network: nn.Module, description: ModelDescription, path: Path, learn: dict[str, Any], workplace: Workplace
) -> None:
    """Write a network, after letting it learn if the step says so."""
    if not learn.get('epochs'):
        write_model(path, network, description)
        return
    start = path.with_name(f'{path.stem}-start.safetensors')
    write_model(start, network, description)
    _learn(load_model(start), path, learn, workplace)


def _learn(model: Model, path: Path, keys: dict[str, Any], workplace: Workplace) -> None:
    """Train a model on, in a folder beside its file, from which a stopped run goes on."""
    about = model.description
    teacher = {'model': str(workplace.teacher), 'weight': 1.0, 'temperature': 2.0}
    content = {
        'model': about.architecture,
        'arguments': about.arguments,
        'input_size': list(about.input_size),
        'normalisation': about.normalisation.as_json(),
        'augment': {'crop': list(about.input_size)},
        'teacher': teacher,
        'licence': about.licence,
        **workplace.learning,
        **keys,
        'train': [dataclasses.asdict(source) for source in workplace.train],
        'validation': workplace.validation and dataclasses.asdict(workplace.validation),
        'init': str(model.path),
    }
    plain = json.loads(json.dumps(content))  # tuples become lists, as in a recipe file
    recipe = build_dataclass(Recipe, plain, 'learn')
    folder = path.with_suffix('')
    trainer = Trainer(recipe, workplace.data, folder, workplace.processes)
    trainer.description = replace(
        trainer.description,
        parent=about.parent,
        training={**trainer.description.training, 'compressed': True},
    )
    trainer.run()
    if workplace.processes.is_main:
        made = folder / (BEST_FILE if workplace.validation and trainer.recipe.stop_after else LAST_FILE)
        made.replace(path)


def _link(number: int, content: dict[str, Any]) -> tuple[str, Step]:
    where = f'steps[{number}]'
    if not isinstance(content, dict) or len(content) != 1:
        raise RecipeError(f'{where} is {content!r}; expected one of {", ".join(STEPS)} with its settings')
    name, settings = next(iter(content.items()))
    if name not in STEPS:
        raise RecipeError(f"{where}: unknown step '{name}'; known: {', '.join(STEPS)}")
    step: Step = build_dataclass(STEPS[name], settings or {}, f'{where}: {name}')
    return name, step


def _sample(image: Any, labels: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """An image and its labels at a size, as tensors of one image."""
    resized = torch.from_numpy(resize_image(image, *size).copy())[None]
    nearest = F.interpolate(torch.from_numpy(labels)[None, None].float(), size, mode='nearest')
    return resized, nearest[:, 0].to(torch.uint8)


def _short(value: float) -> float:
    """Five digits, which is more than a range is known to."""
    return float(f'{value:.5g}')


def _file_name(name: str) -> str:
    return name if name.endswith('.safetensors') else f'{name}.safetensors'


def _read_done(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / DONE_FILE).read_text()))
    except (OSError, ValueError):
        return {}


def _write_done(folder: Path, name: str, state: str) -> None:
    done = {**_read_done(folder), name: state}
    (folder / DONE_FILE).write_text(json.dumps(done, indent=2) + '\n')
