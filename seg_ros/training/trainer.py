"""The training loop: an epoch, a validation, and a state file, again and again.

AdamW, a rise and a cosine fall of the learning rate, averaged weights; a killed run goes on from its state
file as if nothing had happened.
"""

import copy
import gc
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn, optim
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_ros.errors import RecipeError
from seg_ros.inference.process import keep_freed_memory
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import ModelMetadata, with_figures
from seg_ros.modelfile.packed import plain_copy
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.curves import write_curves
from seg_ros.training.distributed import Processes
from seg_ros.training.ema import WeightAverage
from seg_ros.training.export import export_model
from seg_ros.training.interrupts import raise_if_interrupted
from seg_ros.training.loader import Augmented, EpochSampler, InMemory, make_loader
from seg_ros.training.pixel_pretraining import start_classifier
from seg_ros.training.progress import Progress
from seg_ros.training.recipe import Recipe, Source
from seg_ros.training.run_state import read_state, restore_state, save_state
from seg_ros.training.schedule import learning_rate, parameter_groups
from seg_ros.training.setup import (
    describe_sources,
    learn_at,
    load_parent,
    load_teacher,
    make_loss,
    make_network,
    open_source,
    with_embeddings,
)
from seg_ros.training.training_step import TrainingStep
from seg_ros.training.validation import as_figures, measure
from seg_ros.training.workarounds import faults_of_gradients, guard_convolutions

log = logging.getLogger(__name__)
NetworkT = TypeVar('NetworkT', bound=nn.Module)

STATE_FILE, BEST_FILE, LAST_FILE = 'state.safetensors', 'best.safetensors', 'last.safetensors'


class Trainer:
    """One training run.

    Args:
        recipe: what to train, on what, how.
        data: root of the data set, None for data that needs no folder.
        folder: receives the state file, the curves, and the model files ``best`` (of all validations) and
            ``last``; where it holds the state of the same recipe, the run goes on from there.
        processes: this process among those that train.
        commit: version of the recipe, noted in the model files.

    Attributes:
        metadata: of the network being trained.
        network: being trained.
        progress: how far the run is.

    Raises:
        RecipeError: the recipe does not fit its data, its files, or the run in ``folder``.
    """

    def __init__(
        self, recipe: Recipe, data: Path | None, folder: Path, processes: Processes, commit: str | None = None
    ) -> None:
        if recipe.batch_size % processes.world_size:
            raise RecipeError(
                f'batch_size is {recipe.batch_size}; expected a multiple of {processes.world_size} processes'
            )
        self.recipe, self.folder, self.processes = recipe, folder, processes
        self._data = data
        parts = [self._read(source) for source in recipe.train]
        self._validation = self._read(recipe.validation) if recipe.validation else None
        self._test = open_source(recipe.test, data) if recipe.test else None
        used = [part for part in (*parts, self._validation, self._test) if part]
        if any(part.classes != parts[0].classes for part in used):
            raise RecipeError('train, validation, test: the classes differ; expected one class set')
        parent = load_parent(recipe)
        self.metadata = ModelMetadata(
            architecture=recipe.model,
            arguments=recipe.arguments,
            classes=parts[0].classes,
            input_size=recipe.input_size,
            normalisation=recipe.normalisation,
            quantization=recipe.quantization,
            calibration=parent.metadata.calibration if parent else None,
            pruned=parent.metadata.pruned if parent else None,
            parent={'digest': parent.digest, 'figures': parent.metadata.figures} if parent else None,
            training={
                'data': describe_sources(recipe.train, parts),
                'recipe': recipe.without_folders().as_json(),
                'seed': recipe.seed,
                'commit': commit,
            },
            licence=recipe.licence,
        )

        keep_freed_memory()
        torch.manual_seed(recipe.seed)
        network = learn_at(make_network(recipe, self.metadata, parent), recipe.quantization, parent)
        images = self._augmented(parts)
        if not (folder / STATE_FILE).is_file():
            start_classifier(network, images, recipe, processes.device, is_quiet=not processes.is_main)
        learning, embeddings = with_embeddings(recipe, ImageNetwork(network, recipe.normalisation), parent)
        self.metadata = replace(self.metadata, embeddings=embeddings)
        if parent is not None and parent.embeddings is not None and not embeddings and processes.is_main:
            log.warning("%s has embeddings, the recipe has no 'embeddings': they are left out", parent.path)
        self.network = self._place(learning)
        self._average = WeightAverage(self.network, recipe.ema)
        self._optimizer = optim.AdamW(parameter_groups(self.network, recipe.weight_decay), lr=0.0)
        self._step = self._make_step(parts)
        self._plain_step: Callable[[Tensor, Tensor], Tensor] = self._wrap_step()
        self._run_step = torch.compile(self._plain_step) if recipe.compile else self._plain_step
        self._is_checked = not recipe.compile
        self._sampler, self._loader = self._make_loader(images)

        self.progress = Progress()
        if (folder / STATE_FILE).is_file():
            self._resume()

    def run(self) -> None:
        """Train to the end of the recipe, and write the model files.

        Raises:
            RecipeError: the loss is not finite any more.
            UnavailableError: matplotlib is missing.
        """
        try:
            self._run()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Free what the processes share, before they part.

        Where DistributedDataParallel is the last to hold the process group, it waits for threads of the group
        while it keeps the interpreter, which these threads may need: now and then a run never ended (torch
        2.13). Freed first, it leaves that to the group, which gives the interpreter away.
        """
        self._plain_step = self._run_step = self._step
        gc.collect()

    def _run(self) -> None:
        progress, is_main = self.progress, self.processes.is_main
        if is_main:
            write_curves(self.folder, progress.rows)  # at once, so that a missing matplotlib costs nothing
        epochs = tqdm(
            range(progress.epoch, self.recipe.epochs),
            desc='training',
            unit='epoch',
            initial=progress.epoch,
            total=self.recipe.epochs,
            disable=not is_main,
        )
        for epoch in epochs:
            if self.has_converged:
                epochs.close()
                break
            is_best = progress.count(self._epoch(epoch))
            epochs.set_postfix(
                loss=f'{progress.rows[-1]["loss"]:.3f}', best=f'{100 * max(progress.best_mean_iou, 0):.1f}'
            )
            if is_main:
                # The state comes last: a run killed before it repeats the epoch and writes the same again.
                if is_best:
                    self._write_model(BEST_FILE)
                write_curves(self.folder, progress.rows)
                self._save_state()
        if is_main:
            self._write_model(LAST_FILE)
            if self._validation is None:
                self._write_model(BEST_FILE)

    @property
    def has_converged(self) -> bool:
        """Whether ``stop_after`` validations in a row brought no gain."""
        return 0 < self.recipe.stop_after <= self.progress.validations_without_gain

    def best_figures(self) -> dict[str, Any]:
        """What validation measured of the best weights."""
        return load_model(self.folder / BEST_FILE).metadata.figures

    def test(self) -> dict[str, Any]:
        """Figures of the best weights on the recipe's ``test``, measured by this process alone."""
        if self._test is None:
            raise RecipeError('test: missing; name the data to measure on')
        model = load_model(self.folder / BEST_FILE)
        network = ImageNetwork(model.network, model.metadata.normalisation)
        alone = replace(self.processes, rank=0, world_size=1)
        matrix = measure(network.to(alone.device), self._test, self.recipe.input_size, alone)
        return as_figures(matrix, self._test.classes)

    def _read(self, source: Source) -> InMemory:
        label = f'reading {source.dataset} {source.split}' if self.processes.is_main else ''
        return InMemory(open_source(source, self._data), label)

    def _place(self, network: NetworkT) -> NetworkT:
        """On the device, in the memory order that convolutions like best."""
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        guard_convolutions(network)
        return network.to(self.processes.device)

    def _make_step(self, parts: list[InMemory]) -> TrainingStep:
        recipe = self.recipe
        teacher = load_teacher(recipe, self.metadata)
        step = TrainingStep(
            self.network,
            make_loss(recipe, parts),
            recipe.precision,
            self._place(teacher) if teacher else None,
            recipe.teacher,
            recipe.embeddings,
        )
        return step.to(self.processes.device)

    def _wrap_step(self) -> Callable[[Tensor, Tensor], Tensor]:
        run: Callable[[Tensor, Tensor], Tensor] = self._step
        if self.processes.world_size > 1:
            run = DistributedDataParallel(self._step)
        return run

    def _augmented(self, parts: list[InMemory]) -> Augmented:
        """The training images of an epoch."""
        repeated = [
            part for part, source in zip(parts, self.recipe.train, strict=True) for _ in range(source.repeat)
        ]
        return Augmented(repeated, self.recipe.augment, self.recipe.seed, self.recipe.paste)

    def _make_loader(self, images: Augmented) -> tuple[EpochSampler, 'DataLoader[tuple[Tensor, Tensor]]']:
        recipe, processes = self.recipe, self.processes
        sampler = EpochSampler(
            len(images), recipe.batch_size, recipe.seed, processes.rank, processes.world_size
        )
        per_process = recipe.batch_size // processes.world_size
        return sampler, make_loader(images, sampler, per_process, recipe.workers)

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train and perhaps validate; the row of the curves."""
        started = time.monotonic()
        loss = self._train_epoch(epoch)
        due = (epoch + 1) % self.recipe.validate_every == 0 or epoch + 1 == self.recipe.epochs
        measured = {'mean_iou': math.nan, 'class_average': math.nan}
        if self._validation and due:
            measured = self._validate(self._validation)
        return {
            'epoch': epoch + 1,
            'learning_rate': self._learning_rate(epoch, len(self._loader) - 1),
            'loss': loss,
            **measured,
            'seconds': time.monotonic() - started,
        }

    def _train_epoch(self, epoch: int) -> float:
        """Mean loss over the steps."""
        # Dropout depends on seed, epoch and rank alone: a resumed run draws what an unbroken one would.
        torch.manual_seed(_mix(self.recipe.seed, epoch, self.processes.rank))
        self._sampler.epoch = epoch
        self._step.train()
        device = self.processes.device
        total = torch.zeros((), device=device)
        steps = tqdm(
            self._loader,
            desc=f'epoch {epoch + 1}',
            unit='step',
            leave=False,
            disable=not self.processes.is_main,
        )
        for position, (images, labels) in enumerate(steps):
            raise_if_interrupted()
            for group in self._optimizer.param_groups:
                group['lr'] = self._learning_rate(epoch, position)
            batch = images.to(device), labels.to(device)
            if not self._is_checked:
                self._check_compiler(batch)
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._run_step(*batch)
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            self._average.update(self.network, epoch * len(self._loader) + position)
            total += loss.detach()
        if self.processes.world_size > 1:
            distributed.all_reduce(total)
        mean = float(total) / len(self._loader) / self.processes.world_size
        if not math.isfinite(mean):
            raise RecipeError(f'learning_rate: the loss is {mean} in epoch {epoch + 1}; lower it')
        return mean

    def _check_compiler(self, batch: tuple[Tensor, Tensor]) -> None:
        """Train without the compiler if it gets the gradients wrong."""
        self._is_checked = True
        faults = faults_of_gradients(self._run_step, self._plain_step, self._step, batch)
        if faults:
            self._run_step = self._plain_step
        if faults and self.processes.is_main:
            log.warning(
                'torch.compile gets the gradients of this network wrong on this machine (%s); it is trained '
                "without, which takes longer; 'precision: fp32' may help",
                faults,
            )

    def _validate(self, dataset: InMemory) -> dict[str, float]:
        matrix = measure(self._average.network, dataset, self.recipe.input_size, self.processes)
        if not matrix.any():
            raise RecipeError('validation: not one pixel has a class; choose other data')
        self.progress.figures = as_figures(matrix, dataset.classes)
        return {key: self.progress.figures[key] for key in ('mean_iou', 'class_average')}

    def _learning_rate(self, epoch: int, position: int) -> float:
        n_steps = self.recipe.epochs * len(self._loader)
        step = epoch * len(self._loader) + position
        return learning_rate(step, n_steps, self.recipe.learning_rate, self.recipe.warmup)

    def _write_model(self, name: str) -> None:
        """The averaged weights as a model file."""
        averaged = self._average.network
        embeddings = None if isinstance(averaged, ImageNetwork) else averaged.frames.embeddings
        images = averaged if isinstance(averaged, ImageNetwork) else averaged.frames.network
        network = plain_copy(images.network).cpu()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        metadata = replace(self.metadata, training={**self.metadata.training, 'epoch': self.progress.epoch})
        if self.recipe.validation:
            source = self.recipe.validation
            metadata = with_figures(
                metadata, **self.progress.figures, dataset=source.dataset, split=source.split
            )
        head = None if embeddings is None else copy.deepcopy(embeddings).cpu()
        export_model(self.folder / name, network, metadata, head)

    def _save_state(self) -> None:
        record = {'recipe': self.recipe.as_json(), 'progress': vars(self.progress)}
        save_state(self.folder / STATE_FILE, self._modules, self._optimizer, record)

    def _resume(self) -> None:
        path = self.folder / STATE_FILE
        record, tensors = read_state(path)
        own = self.recipe.as_json()
        changed = [key for key in own if record['recipe'].get(key) != own[key]]
        if changed:
            raise RecipeError(
                f'{self.folder} holds a run whose {", ".join(changed)} differ from the recipe; '
                'remove the folder or choose another'
            )
        restore_state(path, tensors, self._modules, self._optimizer)
        self.progress = Progress(**record['progress'])
        if self.processes.is_main:
            log.info('going on after epoch %d', self.progress.epoch)

    @property
    def _modules(self) -> dict[str, torch.nn.Module]:
        return {'network': self.network, 'average': self._average.network}


def _mix(*numbers: int) -> int:
    """One 64-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
