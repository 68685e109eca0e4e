"""The training loop: each epoch trains, validates and writes the state file.

AdamW, a learning rate with a linear rise and a cosine fall, averaged weights. A killed run continues from its
state file and gives the same weights as a run without interruption.
"""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from tqdm import tqdm

from seg_ros.errors import RecipeError
from seg_ros.modelfile.metadata import ModelMetadata, with_figures
from seg_ros.training.batch_norm_statistics import recompute_statistics
from seg_ros.training.curves import VALIDATION, write_curves
from seg_ros.training.export import export_trained
from seg_ros.training.interrupts import raise_if_interrupted
from seg_ros.training.loader import plain_images
from seg_ros.training.run_state import BEST_FILE, LAST_FILE, save_run
from seg_ros.training.schedule import learning_rate
from seg_ros.training.setup import TrainingSetup, seeded
from seg_ros.training.step_runner import StepRunner
from seg_ros.training.validation import as_figures, measure


class Trainer:
    """Trains a network by a recipe.

    Args:
        setup: Everything that the run works with, see :func:`seg_ros.training.setup.set_up`.

    Attributes:
        setup: The same.
        progress: Progress of the run.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self.setup = setup
        self.progress = setup.progress
        self._step = StepRunner(setup.step, setup.processes, is_compiled=setup.recipe.compile)

    @property
    def has_converged(self) -> bool:
        """Whether the last ``stop_after`` validations in a row brought no gain."""
        return 0 < self.setup.recipe.stop_after <= self.progress.validations_without_gain

    def run(self) -> None:
        """Train to the end of the recipe and write the model files.

        Raises:
            RecipeError: The loss is not finite any more.
            UnavailableError: matplotlib is not installed.
        """
        is_main = self.setup.processes.is_main
        if is_main:
            write_curves(self.setup.folder, self.progress.rows)  # fails early if matplotlib is missing
        try:
            self._train()
        finally:
            self._step.release()
        if is_main:
            self._export(LAST_FILE)
            if self.setup.data.validation is None:
                self._export(BEST_FILE)

    def _train(self) -> None:
        """Train epoch after epoch until the recipe ends or the validations bring no gain."""
        epochs = tqdm(
            range(self.progress.epoch, self.setup.recipe.epochs),
            desc='training',
            unit='epoch',
            initial=self.progress.epoch,
            total=self.setup.recipe.epochs,
            disable=not self.setup.processes.is_main,
        )
        for epoch in epochs:
            if self.has_converged:
                epochs.close()
                break
            row = self._run_epoch(epoch)
            best = 100 * max(self.progress.best_mean_iou, 0)
            epochs.set_postfix(loss=f'{row["loss"]:.3f}', best=f'{best:.1f}')

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        """Train for an epoch, validate if it is due, and write the files; returns the row for the curves."""
        started = time.monotonic()
        loss = self._train_epoch(epoch)
        is_due = self._is_validation_due(epoch)
        if is_due:
            self._refresh_statistics()
        figures, validation_loss = self._validate() if is_due else (None, math.nan)
        row = {
            'epoch': epoch + 1,
            'learning_rate': self._learning_rate(epoch, len(self.setup.loader) - 1),
            'loss': loss,
            'validation_loss': validation_loss,
            **{key: figures[key] if figures else math.nan for key in VALIDATION[1:]},
            'seconds': time.monotonic() - started,
        }
        is_best = self.progress.is_gain(row)
        self.progress = self.progress.after(row, figures)
        if self.setup.processes.is_main:
            self._write_files(is_best=is_best)
        return row

    def _train_epoch(self, epoch: int) -> float:
        """Train for an epoch; returns the mean loss over the steps of all processes."""
        setup, device = self.setup, self.setup.processes.device
        setup.sampler.epoch = epoch
        setup.step.train()
        total = torch.zeros((), device=device)
        batches = tqdm(
            setup.loader,
            desc=f'epoch {epoch + 1}',
            unit='step',
            leave=False,
            disable=not setup.processes.is_main,
        )
        # Dropout depends on seed, epoch and rank only, so that a resumed run draws the same numbers.
        with seeded(_combine(setup.recipe.seed, epoch, setup.processes.rank), device):
            for position, (images, labels) in enumerate(batches):
                raise_if_interrupted()
                total += self._optimize(images.to(device), labels.to(device), epoch, position)
        if setup.processes.world_size > 1:
            distributed.all_reduce(total)
        mean = float(total) / len(setup.loader) / setup.processes.world_size
        if not math.isfinite(mean):
            raise RecipeError(f'learning_rate: the loss is {mean} in epoch {epoch + 1}; lower it')
        return mean

    def _optimize(self, images: Tensor, labels: Tensor, epoch: int, position: int) -> Tensor:
        """Take one optimizer step; returns the loss of the batch, a () float."""
        setup = self.setup
        for group in setup.optimizer.param_groups:
            group['lr'] = self._learning_rate(epoch, position)
        setup.optimizer.zero_grad(set_to_none=True)
        loss = self._step(images, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        setup.optimizer.step()
        if setup.sparsity:
            setup.sparsity.apply(setup.network)
        setup.average.update(setup.network, epoch * len(setup.loader) + position)
        return loss.detach()

    def _learning_rate(self, epoch: int, position: int) -> float:
        recipe, n_batches = self.setup.recipe, len(self.setup.loader)
        step = epoch * n_batches + position
        return learning_rate(step, recipe.epochs * n_batches, recipe.learning_rate, recipe.warmup)

    def _is_validation_due(self, epoch: int) -> bool:
        recipe = self.setup.recipe
        return (epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs

    def _refresh_statistics(self) -> None:
        """Compute the statistics of the averaged weights anew, as the recipe says."""
        setup, recipe = self.setup, self.setup.recipe
        images = plain_images(setup.data.train, recipe.statistics, recipe.input_size, recipe.batch_size)
        recompute_statistics(setup.average.network, (batch.to(setup.processes.device) for batch in images))

    def _validate(self) -> tuple[dict[str, Any] | None, float]:
        """Figures of the averaged weights on the validation data, and their loss; None and NaN without data.

        The loss is that on labels, without the terms of a teacher or of embeddings.
        """
        setup, dataset = self.setup, self.setup.data.validation
        if dataset is None:
            return None, math.nan
        size, network = setup.recipe.input_size, setup.average.network
        matrix, loss = measure(network, dataset, size, setup.processes, setup.step.loss)
        if not matrix.any():
            raise RecipeError('validation: not one pixel has a class; choose other data')
        return as_figures(matrix, dataset.classes), loss

    def _write_files(self, *, is_best: bool) -> None:
        """Write the files of an epoch.

        The state comes last: a run that is killed before it repeats the epoch and writes the same files.
        """
        setup = self.setup
        if is_best:
            self._export(BEST_FILE)
        write_curves(setup.folder, self.progress.rows)
        save_run(setup.folder, setup.recipe, self.progress, setup.modules, setup.optimizer)

    def _export(self, name: str) -> None:
        """Write the averaged weights as a model file."""
        export_trained(self.setup.folder / name, self.setup.average.network, self._metadata())

    def _metadata(self) -> ModelMetadata:
        """Metadata with the epoch, and with the figures of the last validation."""
        metadata, source = self.setup.metadata, self.setup.recipe.validation
        metadata = replace(metadata, training={**metadata.training, 'epoch': self.progress.epoch})
        if source is None:
            return metadata
        return with_figures(metadata, **self.progress.figures, dataset=source.dataset, split=source.split)


def _combine(*numbers: int) -> int:
    """One 64-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
