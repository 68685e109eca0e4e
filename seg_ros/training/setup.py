"""What a run starts from: the data, networks and files that its recipe names."""

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import class_file
from seg_ros.datasets.registry import DATASETS
from seg_ros.datasets.wrappers import Relabelled, Resized
from seg_ros.errors import CalibrationError, RecipeError, look_up
from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.metadata import EmbeddingMetadata, ModelMetadata
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.graph.channels import shrink
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.pretrained import Pretrained
from seg_ros.networks.registry import MODELS
from seg_ros.quantization.int8 import fake_quantize
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.quantization.weight_sharing import share_network
from seg_ros.training.losses import SegmentationLoss, class_counts, class_weights
from seg_ros.training.recipe import Recipe, Source

EMBEDDINGS_LEFT_OUT = (
    'the embeddings are left out: they belong to the network as it was; '
    "seg_ros train makes new ones, by a recipe with 'embeddings' and alone: true"
)
"""What is said where a network changes under them."""


def open_source(source: Source, data: Path | None) -> Dataset:
    """The data set that a recipe names.

    Raises:
        RecipeError: it does not take these options.
        DatasetError: it needs a folder and ``data`` is None, or the folder is not as it should be.
        UnavailableError: there is no such class set to relabel to.
        UnknownNameError: there is no such data set, or a class to relabel is in neither set.
    """
    build = look_up(DATASETS, source.dataset, 'data set')
    root = data / source.root if data else None
    try:
        inspect.signature(build).bind(root, source.split, **source.options)
    except TypeError as err:
        raise RecipeError(f'data set {source.dataset} does not take options {source.options}: {err}') from err
    dataset = build(root, source.split, **source.options)
    if source.relabel is not None:
        relabel = source.relabel
        classes = ClassSet.from_yaml(class_file(relabel.classes, Path()))
        dataset = Relabelled(dataset, classes, relabel.names, relabel.labelled)
    return dataset if source.scale == 1 else Resized(dataset, source.scale)


def describe_sources(sources: Sequence[Source], parts: Sequence[Dataset]) -> str:
    """The training data in a line, for the model file."""
    return ' + '.join(
        f'{source.repeat} x {source.dataset} {source.split} ({len(part)} images)'
        for source, part in zip(sources, parts, strict=True)
    )


def load_parent(recipe: Recipe) -> Model | None:
    """The model that ``init`` names."""
    return None if recipe.init is None else load_model(recipe.init)


def make_network(recipe: Recipe, metadata: ModelMetadata, parent: Model | None) -> nn.Module:
    """The network at its start: random, with an ImageNet encoder, or another model's weights.

    Raises:
        RecipeError: the weights are those of another network.
        ModelFileError: a file cannot be read.
    """
    if parent is not None and parent.metadata.pruned is not None:
        return _pruned_network(recipe, metadata, parent)
    network = metadata.build()
    if recipe.encoder_weights:
        encoder = getattr(network, 'encoder', None)
        if not isinstance(encoder, Pretrained):
            raise RecipeError(
                f'encoder_weights: {recipe.model} has no encoder that loads ImageNet weights; with one: '
                + ', '.join(_with_encoders())
            )
        encoder.load_weights(Path(recipe.encoder_weights).expanduser())
    if parent is None:
        return network
    own, learned = network.state_dict(), parent.network.state_dict()
    if own.keys() != learned.keys():
        raise RecipeError(f'init: {parent.path} is a {parent.metadata.architecture}, not {recipe.model}')
    # A head for other classes starts anew.
    network.load_state_dict({k: v if v.shape == own[k].shape else own[k] for k, v in learned.items()})
    return network


def _with_encoders() -> list[str]:
    """Architectures whose encoder public weights fit."""
    with torch.device('meta'):
        return [
            n for n, build in MODELS.items() if isinstance(getattr(build(2), 'encoder', None), Pretrained)
        ]


def _pruned_network(recipe: Recipe, metadata: ModelMetadata, parent: Model) -> nn.Module:
    """A network as small as the pruned one that it starts from."""
    original = parent.metadata
    if original.architecture != recipe.model or original.classes != metadata.classes:
        raise RecipeError(
            f'init: {parent.path} is a pruned {original.architecture} for {len(original.classes)} classes; '
            f'expected {recipe.model} for the {len(metadata.classes)} of the data'
        )
    network = metadata.build()
    state = parent.network.state_dict()
    shrink(network, {name: value.shape for name, value in state.items()})
    network.load_state_dict(state)
    return network


def learn_at(network: nn.Module, level: str, parent: Model | None) -> nn.Module:
    """Let a network learn to compute at a quantisation level, in place.

    Raises:
        CalibrationError: int8 is asked for and the model it starts from has no calibration record.
    """
    target = QUANTIZATIONS[level]
    if target.packed_as == 'shared':
        return share_network(network, target.n_bits)
    if target.packed_as is None:
        return network
    ranges = None
    if target.dtype == torch.int8:
        record = parent.metadata.calibration if parent else None
        if parent is None or record is None:
            raise CalibrationError(
                f'init: {parent and parent.path} has no calibration record, which int8 needs; '
                'seg_ros quantize --level int8 makes one'
            )
        ranges = record['ranges']
    return fake_quantize(network, ranges, target.n_bits)


def make_loss(recipe: Recipe, parts: Sequence[Dataset]) -> SegmentationLoss:
    """The loss on labels, its classes weighted by how often they occur in what is trained on.

    Raises:
        RecipeError: the labels hold not one pixel of a class.
    """
    counts = np.sum(
        [source.repeat * class_counts(part) for source, part in zip(recipe.train, parts, strict=True)], axis=0
    )
    settings = recipe.loss
    return SegmentationLoss(
        class_weights(counts, settings.balance, settings.constant),
        jaccard=settings.jaccard,
        label_smoothing=settings.label_smoothing,
        adjust=settings.adjust,
    )


def with_embeddings(
    recipe: Recipe, network: ImageNetwork, parent: Model | None
) -> tuple[ImageNetwork | FilteredNetwork, EmbeddingMetadata | None]:
    """The network with the head and the filter that the recipe asks for, and how files describe them.

    The head is new, or the parent's own where it is of the same kind.

    Raises:
        RecipeError: the network has no such sub-module; names those that it has.
    """
    settings = recipe.embeddings
    if settings is None:
        return network, None
    channels = dict(zip(settings.taps, _channels(network, settings.taps), strict=True))
    metadata = EmbeddingMetadata(
        channels, settings.dimensions, settings.stride, settings.window, settings.iterations
    )
    head = EmbeddingHead(
        list(channels.values()), settings.dimensions, settings.stride, hardness=settings.hardness
    )
    if parent is not None and parent.embeddings is not None and parent.metadata.embeddings is not None:
        own = parent.metadata.embeddings
        if (own.taps, own.dimensions, own.stride) == (channels, settings.dimensions, settings.stride):
            head.load_state_dict(parent.embeddings.state_dict())
    if settings.alone:
        network.requires_grad_(False)
    frames = FrameNetwork(network, embeddings=head, embedding_taps=settings.taps)
    return FilteredNetwork(frames, settings.window, settings.iterations), metadata


def _channels(network: ImageNetwork, taps: Sequence[str]) -> list[int]:
    """Channels of what each sub-module gives."""
    was_training = network.training
    try:
        frames = FrameNetwork(network, taps=taps)
    except AttributeError as err:
        known = ', '.join(name for name, _ in network.network.named_children())
        raise RecipeError(f'embeddings: taps: {err}; the network has {known}, ...') from err
    with torch.no_grad():
        maps = frames.eval().maps(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    frames.close()
    network.train(was_training)
    return [features.shape[1] for features in maps]


def load_teacher(recipe: Recipe, metadata: ModelMetadata) -> ImageNetwork | None:
    """The teacher that a recipe names.

    Raises:
        RecipeError: it tells other classes apart.
        ModelFileError: its file cannot be read.
    """
    if recipe.teacher is None:
        return None
    model = load_model(recipe.teacher.model)
    if model.metadata.classes != metadata.classes:
        names = model.metadata.classes.names
        raise RecipeError(f'teacher: {model.path} has other classes than the data: {names}')
    return ImageNetwork(model.network, model.metadata.normalisation)
