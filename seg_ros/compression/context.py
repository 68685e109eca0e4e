"""Data and processes that the steps of a chain share, and the learning after a step."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros import schema
from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import CalibrationError, RecipeError
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.training.augment import Augmentation
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Recipe, Source, Teacher
from seg_ros.training.run_state import BEST_FILE, LAST_FILE
from seg_ros.training.setup import set_up
from seg_ros.training.sources import open_source
from seg_ros.training.trainer import Trainer

MINIMUM_IMAGES = 4
"""Minimum number of images for calibration and scoring."""


@dataclass(frozen=True)
class CompressionContext:
    """Everything that a step works with besides the model.

    Attributes:
        train: Data for scoring, calibration and learning.
        validation: Data for validation while learning, or None.
        data: Root folder of the data sets; None if they need no folder.
        processes: Processes that learn together.
        learning: Keys of a training recipe that all learning shares.
        teacher: Path of the model that the chain starts from.
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
        """Draw labelled images evenly from all training data.

        Args:
            n_images: Maximum number of images.
            metadata: Metadata of the model that the images are for.
            size: (height, width) of the images in pixels; None = the input size of the model.

        Returns:
            (1, H, W, 3) uint8 RGB and (1, H, W) uint8 for each image.

        Raises:
            CalibrationError: The data or ``n_images`` give fewer than four images.
            RecipeError: The data have other classes than the model.
        """
        datasets = [open_source(source, self.data) for source in self.train]
        for source, dataset in zip(self.train, datasets, strict=True):
            _check_classes(source, dataset, metadata)
        images = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
        n_samples = min(len(images), n_images)
        if n_samples < MINIMUM_IMAGES:
            raise CalibrationError(f'{n_samples} images to measure on; expected {MINIMUM_IMAGES} or more')
        chosen = [images[k * len(images) // n_images] for k in range(n_samples)]
        return [_sample(*dataset[index], size or metadata.input_size) for dataset, index in chosen]


class CompressionStep(Protocol):
    """A step of a chain."""

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe for learning after the step; empty if the step does not learn."""
        ...

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Make the model file ``path`` from ``model``, which is not changed."""
        ...


def take(step: CompressionStep, model: Model, path: Path, context: CompressionContext) -> None:
    """Take a step: one process prepares the network, then all processes train it.

    Args:
        step: The step.
        model: Model to make a smaller one from; neither the model nor its file is changed.
        path: Path of the model file to make. A folder beside it keeps the training state for a stopped run.
        context: Data and processes.

    Raises:
        BudgetError: A budget cannot be met.
        CalibrationError: There are too few images.
        RecipeError: The step does not fit the model.
    """
    learning, processes = step.learning, context.processes
    start = path.with_name(f'{path.stem}-start.safetensors') if learning else path
    if processes.is_main:
        step.prepare(model, start, context)
    processes.wait()
    if learning:
        _learn(load_model(start), path, learning, context)
        processes.wait()


def float_copy(model: Model) -> nn.Module:
    """A float32 copy of a model's network, free to be changed.

    Raises:
        RecipeError: The model has no classes, so that the importance of channels cannot be measured.
    """
    if not len(model.metadata.classes):
        raise RecipeError(f'{model.path} has no classes; compression needs labelled classes')
    return copy.deepcopy(model.network).float()


def check_learning(keys: dict[str, Any], where: str) -> None:
    """Check the names and types of some keys of a training recipe.

    Args:
        keys: Keys with their values as in a recipe file.
        where: Place of the keys, for error messages.

    Raises:
        RecipeError: A key is unknown, or a value has the wrong type.
    """
    types = schema.field_types(Recipe)
    for key, value in keys.items():
        if key not in types:
            raise RecipeError(f'{where}.{key} is not a key of a training recipe; known: {", ".join(types)}')
        schema.check_value(types[key], value, f'{where}.{key}', RecipeError)


def _learn(model: Model, path: Path, keys: dict[str, Any], context: CompressionContext) -> None:
    """Train a model, in a folder beside the file to write, from which a stopped run continues."""
    recipe, folder = _learning_recipe(model, keys, context), path.with_suffix('')
    setup = set_up(recipe, context.data, folder, context.processes, parent=model)
    metadata = replace(
        setup.metadata,
        parent=model.metadata.parent,
        training={**setup.metadata.training, 'compressed': True},
    )
    Trainer(replace(setup, metadata=metadata)).run()
    if context.processes.is_main:
        made = folder / (BEST_FILE if context.validation and recipe.stop_after else LAST_FILE)
        made.replace(path)


def _learning_recipe(model: Model, keys: dict[str, Any], context: CompressionContext) -> Recipe:
    """The training recipe of a step: settings of the model, then keys of the chain, then keys of the step."""
    metadata = model.metadata
    content: dict[str, Any] = {
        'model': metadata.architecture,
        'arguments': metadata.arguments,
        'input_size': metadata.input_size,
        'normalisation': metadata.normalisation,
        'augment': Augmentation(metadata.input_size),
        'teacher': Teacher(str(context.teacher), weight=1.0, temperature=2.0),
        'licence': metadata.licence,
        **context.learning,
        **keys,
        'train': context.train,
        'validation': context.validation,
        'init': str(model.path),
    }
    return schema.build(Recipe, content, 'learn', RecipeError)


def _check_classes(source: Source, dataset: Dataset, metadata: ModelMetadata) -> None:
    if dataset.classes != metadata.classes:
        raise RecipeError(
            f'{source.dataset} {source.split} has classes {dataset.classes.names}; '
            f'expected those of the model: {metadata.classes.names}'
        )


def _sample(image: UInt8Array, labels: UInt8Array, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Resize an image and its labels to (height, width); returns (1, H, W, 3) and (1, H, W) uint8."""
    resized = torch.from_numpy(resize_image(image, *size).copy())[None]
    nearest = F.interpolate(torch.from_numpy(labels)[None, None].float(), size, mode='nearest')
    return resized, nearest[:, 0].to(torch.uint8)
