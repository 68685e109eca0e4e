"""Data and processes that the steps of a chain share."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.walk import walk
from seg_ros.errors import CalibrationError, RecipeError
from seg_ros.images.resize import resize_image
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.training.distributed import Processes
from seg_ros.training.recipe import Source
from seg_ros.training.sources import open_source

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
        return _drawn(datasets, n_images, size or metadata.input_size)

    def images(self, n_images: int, metadata: ModelMetadata) -> list[Tensor]:
        """Draw images evenly from all training data, whatever their labels.

        Args:
            n_images: Maximum number of images.
            metadata: Metadata of the model that the images are for.

        Returns:
            (1, H, W, 3) uint8 RGB for each image.

        Raises:
            CalibrationError: The data or ``n_images`` give fewer than four images.
        """
        datasets = [open_source(source, self.data) for source in self.train]
        return [image for image, _ in _drawn(datasets, n_images, metadata.input_size)]


def _drawn(datasets: list[Dataset], n_images: int, size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    """Images, drawn evenly, and their labels; see :meth:`CompressionContext.samples`."""
    images = [(dataset, index) for dataset in datasets for index in range(len(dataset))]
    n_samples = min(len(images), n_images)
    if n_samples < MINIMUM_IMAGES:
        raise CalibrationError(f'{n_samples} images to measure on; expected {MINIMUM_IMAGES} or more')
    chosen = [images[k * len(images) // n_samples] for k in range(n_samples)]
    found = [item for _, item in walk(_Chosen(chosen))]
    if len(found) < MINIMUM_IMAGES:
        raise CalibrationError(f'{len(found)} readable images; expected {MINIMUM_IMAGES} or more')
    return [_sample(*pair, size) for pair in found]


class _Chosen:
    """Some images of several data sets."""

    def __init__(self, chosen: list[tuple[Dataset, int]]) -> None:
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        dataset, position = self._chosen[index]
        return dataset[position]


class CompressionStep(Protocol):
    """A step of a chain."""

    @property
    def learning(self) -> dict[str, Any]:
        """Keys of the training recipe for learning after the step; empty if the step does not learn."""
        ...

    def prepare(self, model: Model, path: Path, context: CompressionContext) -> None:
        """Make the model file ``path`` from ``model``, which is not changed."""
        ...


def float_copy(model: Model) -> nn.Module:
    """A float32 copy of a model's network, free to be changed.

    Raises:
        RecipeError: The model has no classes, so that the importance of channels cannot be measured.
        UnavailableError: The model is an imported ONNX graph.
    """
    if not len(model.metadata.classes):
        raise RecipeError(f'{model.path} has no classes; compression needs labelled classes')
    return copy.deepcopy(model.pytorch_network('compression')).float()


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
