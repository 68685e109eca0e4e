"""What the steps of a chain share: data, processes, and learning when a network has changed."""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_ros import schema
from seg_ros.errors import CalibrationError, RecipeError
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Recipe, Source
from seg_ros.training.setup import open_source
from seg_ros.training.trainer import BEST_FILE, LAST_FILE, Trainer

FEWEST_IMAGES = 4
"""Images that calibration and scoring take at least."""


@dataclass(frozen=True)
class CompressionContext:
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
        self, n_images: int, metadata: ModelMetadata, size: tuple[int, int] | None = None
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
            if dataset.classes != metadata.classes:
                raise RecipeError(
                    f'{source.dataset} {source.split} has classes {dataset.classes.names}; '
                    f'expected those of the model: {metadata.classes.names}'
                )
        where = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        if min(len(where), n_images) < FEWEST_IMAGES:
            raise CalibrationError(
                f'{min(len(where), n_images)} images to measure on; expected {FEWEST_IMAGES} or more'
            )
        chosen = [where[k * len(where) // n_images] for k in range(min(n_images, len(where)))]
        return [_sample(*dataset[index], size or metadata.input_size) for dataset, index in chosen]


class CompressionStep(Protocol):
    """One link of a chain."""

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of a training recipe to learn with when the network is prepared; none: it does not learn."""
        ...

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Write the model file ``path``, made of ``model``."""
        ...


def take(step: CompressionStep, model: Model, path: Path, context: CompressionContext) -> None:
    """Take a step: one process prepares the network, all let it learn.

    Args:
        step: what to do.
        model: what to do it to; its file stays as it is.
        path: of the model file to make; a folder beside it keeps what learning needs to go on after a kill.
        context: data and processes.

    Raises:
        BudgetError: a budget cannot be met.
        CalibrationError: there are too few images.
        RecipeError: the step does not fit the model.
    """
    learning, processes = step.learning, context.processes
    start = path.with_name(f'{path.stem}-start.safetensors') if learning else path
    if processes.is_main:
        step.prepare(model, start, context)
    processes.wait()
    if learning:
        _learn(load_model(start), path, learning, context)
        processes.wait()


def _learn(model: Model, path: Path, keys: dict[str, Any], context: CompressionContext) -> None:
    """Train a model on, in a folder beside its file, from which a stopped run goes on."""
    metadata = model.metadata
    teacher = {'model': str(context.teacher), 'weight': 1.0, 'temperature': 2.0}
    content = {
        'model': metadata.architecture,
        'arguments': metadata.arguments,
        'input_size': list(metadata.input_size),
        'normalisation': metadata.normalisation.as_json(),
        'augment': {'crop': list(metadata.input_size)},
        'teacher': teacher,
        'licence': metadata.licence,
        **context.learning,
        **keys,
        'train': [dataclasses.asdict(source) for source in context.train],
        'validation': context.validation and dataclasses.asdict(context.validation),
        'init': str(model.path),
    }
    recipe = schema.build(Recipe, content, 'learn', RecipeError)
    folder = path.with_suffix('')
    trainer = Trainer(recipe, context.data, folder, context.processes)
    trainer.metadata = replace(
        trainer.metadata,
        parent=metadata.parent,
        training={**trainer.metadata.training, 'compressed': True},
    )
    trainer.run()
    if context.processes.is_main:
        made = folder / (BEST_FILE if context.validation and trainer.recipe.stop_after else LAST_FILE)
        made.replace(path)


def _sample(image: Any, labels: Any, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """An image and its labels at a size, as tensors of one image."""
    resized = torch.from_numpy(resize_image(image, *size).copy())[None]
    nearest = F.interpolate(torch.from_numpy(labels)[None, None].float(), size, mode='nearest')
    return resized, nearest[:, 0].to(torch.uint8)
