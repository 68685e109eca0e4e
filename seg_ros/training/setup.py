"""Makes everything that a training run works with from its recipe."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader

from seg_ros.errors import RecipeError
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.training.distributed import Processes
from seg_ros.training.ema import WeightAverage
from seg_ros.training.initial_network import (
    add_embeddings,
    load_parent,
    load_teachers,
    make_network,
    prepare_quantization,
)
from seg_ros.training.label_check import check_labels
from seg_ros.training.loader import Augmented, EpochSampler, make_loader
from seg_ros.training.losses import SegmentationLoss, class_counts, class_weights
from seg_ros.training.pixel_pretraining import pretrain_classifier
from seg_ros.training.progress import Progress
from seg_ros.training.recipe import Recipe
from seg_ros.training.run_state import STATE_FILE, resume
from seg_ros.training.schedule import parameter_groups
from seg_ros.training.sources import TrainingData, describe_sources, open_data
from seg_ros.training.sparsity import Sparsity, sparsity_of, sparsity_record
from seg_ros.training.training_step import TrainingStep
from seg_ros.training.workarounds import use_float32_where_needed

log = logging.getLogger(__name__)
NetworkT = TypeVar('NetworkT', bound=nn.Module)
Loader = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training run works with.

    The parts themselves change while the run trains: weights, averages and the optimizer's state.

    Attributes:
        recipe: Recipe of the run.
        folder: Folder of the run: state file, curves and model files.
        processes: This process among those that train together.
        metadata: Metadata of the network, for its model files.
        data: Data sets for training, validation and test.
        network: Network that is trained, on the device.
        average: Averaged weights, which are validated and exported.
        step: Network, teacher and loss; computes the loss of a batch.
        optimizer: AdamW over the parameters that learn.
        sampler: Order of the training images.
        loader: Batches of training images, in the order of ``sampler``.
        progress: Progress at the start: that of the run in ``folder``, or epoch 0.
        sparsity: Weights that stay zero; None = all weights learn.
    """

    recipe: Recipe
    folder: Path
    processes: Processes
    metadata: ModelMetadata
    data: TrainingData
    network: ImageNetwork | FilteredNetwork
    average: WeightAverage[ImageNetwork | FilteredNetwork]
    step: TrainingStep
    optimizer: optim.Optimizer
    sampler: EpochSampler
    loader: Loader
    progress: Progress
    sparsity: Sparsity | None = None

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules whose tensors the state file holds."""
        return {'network': self.network, 'average': self.average.network}


def set_up(
    recipe: Recipe,
    data: Path | None,
    folder: Path,
    processes: Processes,
    *,
    commit: str | None = None,
    parent: Model | None = None,
) -> TrainingSetup:
    """Prepare a training run; if ``folder`` holds the state of the same recipe, the run continues from it.

    Args:
        recipe: Recipe of the run.
        data: Root folder of the data sets; None if they need no folder.
        folder: Folder of the run.
        processes: This process among those that train together.
        commit: Version of the recipe, for the model files.
        parent: The model that ``init`` of the recipe names, if it is loaded already; it is not changed.

    Raises:
        RecipeError: The recipe does not fit its data, its files, or the run in ``folder``.
    """
    _check_batch_size(recipe, processes)
    is_quiet, device = not processes.is_main, processes.device
    datasets = open_data(recipe, data, is_quiet=is_quiet)
    check_labels(datasets, is_quiet=is_quiet)
    if parent is None:
        parent = load_parent(recipe)
    metadata = _describe(recipe, datasets, parent, commit)
    images = _training_images(recipe, datasets)
    is_new = not (folder / STATE_FILE).is_file()
    _warn_of_lost_embeddings(recipe, parent, is_quiet=is_quiet)
    with seeded(recipe.seed, device):
        plain = make_network(recipe, metadata, parent)
        plain = prepare_quantization(plain, recipe.quantization, parent)
        if is_new:
            pretrain_classifier(plain, images, recipe, device, is_quiet=is_quiet)
        network, embeddings = add_embeddings(recipe, ImageNetwork(plain, recipe.normalisation), parent)
    metadata = replace(metadata, embeddings=embeddings)
    zeros = sparsity_of(parent)
    network = _place(network, device)
    average = WeightAverage(network, recipe.ema)
    optimizer = optim.AdamW(parameter_groups(network, recipe.weight_decay), lr=0.0)
    sampler, loader = _make_loader(recipe, images, processes)
    modules: dict[str, nn.Module] = {'network': network, 'average': average.network}
    return TrainingSetup(
        recipe=recipe,
        folder=folder,
        processes=processes,
        metadata=metadata,
        data=datasets,
        network=network,
        average=average,
        step=_make_step(recipe, datasets, metadata, network, device),
        optimizer=optimizer,
        sampler=sampler,
        loader=loader,
        progress=Progress() if is_new else resume(folder, recipe, modules, optimizer),
        sparsity=zeros.within(plain, network) if zeros else None,
    )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's random generators within the context; afterwards they are as before."""
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        yield


def _check_batch_size(recipe: Recipe, processes: Processes) -> None:
    if recipe.batch_size % processes.world_size:
        raise RecipeError(
            f'batch_size is {recipe.batch_size}; expected a multiple of {processes.world_size} processes'
        )


def _describe(recipe: Recipe, data: TrainingData, parent: Model | None, commit: str | None) -> ModelMetadata:
    """Metadata of the network, still without embeddings."""
    training: dict[str, Any] = {
        'data': describe_sources(recipe.train, data.train),
        'recipe': recipe.without_folders().as_json(),
        'seed': recipe.seed,
        'commit': commit,
        **sparsity_record(parent),
    }
    return ModelMetadata(
        architecture=recipe.model,
        arguments=recipe.arguments,
        classes=data.classes,
        input_size=recipe.input_size,
        normalisation=recipe.normalisation,
        quantization=recipe.quantization,
        calibration=parent.metadata.calibration if parent else None,
        pruned=parent.metadata.pruned if parent else None,
        parent={'digest': parent.digest, 'figures': parent.metadata.figures} if parent else None,
        training=training,
        licence=recipe.licence,
    )


def _warn_of_lost_embeddings(recipe: Recipe, parent: Model | None, *, is_quiet: bool) -> None:
    if not is_quiet and parent is not None and parent.embeddings is not None and recipe.embeddings is None:
        log.warning("%s has embeddings, the recipe has no 'embeddings': they are left out", parent.path)


def _training_images(recipe: Recipe, data: TrainingData) -> Augmented:
    """The training images of an epoch, augmented."""
    repeated = [
        part for part, source in zip(data.train, recipe.train, strict=True) for _ in range(source.repeat)
    ]
    return Augmented(repeated, recipe.augment, recipe.seed, recipe.paste)


def _place(network: NetworkT, device: torch.device) -> NetworkT:
    """Move a network to a device, in the memory order in which convolutions are fastest."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    use_float32_where_needed(network)
    return network.to(device)


def _make_step(
    recipe: Recipe,
    data: TrainingData,
    metadata: ModelMetadata,
    network: ImageNetwork | FilteredNetwork,
    device: torch.device,
) -> TrainingStep:
    teachers = load_teachers(recipe, metadata, data.groups)
    step = TrainingStep(
        network,
        make_loss(recipe, data),
        recipe.precision,
        _place(teachers, device) if teachers else None,
        recipe.teacher,
        recipe.embeddings,
    )
    return step.to(device)


def make_loss(recipe: Recipe, data: TrainingData) -> SegmentationLoss:
    """Make the loss on labels, with class weights from the class frequencies of the training data.

    Raises:
        RecipeError: Not one pixel of the training data has a class.
    """
    counts = np.sum(
        [source.repeat * class_counts(part) for source, part in zip(recipe.train, data.train, strict=True)],
        axis=0,
    )
    settings = recipe.loss
    return SegmentationLoss(
        class_weights(counts, settings.balance, settings.constant),
        jaccard=settings.jaccard,
        label_smoothing=settings.label_smoothing,
        adjust=settings.adjust,
        groups=data.groups,
    )


def _make_loader(recipe: Recipe, images: Augmented, processes: Processes) -> tuple[EpochSampler, Loader]:
    sampler = EpochSampler(len(images), recipe.batch_size, recipe.seed, processes.rank, processes.world_size)
    per_process = recipe.batch_size // processes.world_size
    return sampler, make_loader(images, sampler, per_process, recipe.workers)
