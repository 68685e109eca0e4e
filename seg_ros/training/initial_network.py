"""The network that a training run starts with, and the teacher that it learns from."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from seg_ros import schema
from seg_ros.classes import ClassSet
from seg_ros.errors import CalibrationError, RecipeError
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
from seg_ros.training.recipe import Recipe, TeacherNetwork
from seg_ros.training.teachers import TaughtBy, Teachers, class_matrix
from seg_ros.userfiles.reading import shown_path

log = logging.getLogger(__name__)

EMBEDDINGS_LEFT_OUT = (
    'the embeddings are left out: they belong to the network before this change; '
    "seg_ros train makes new ones, by a recipe with 'embeddings' and alone: true"
)
"""Warning for operations that change the network below the embeddings."""


def load_parent(recipe: Recipe) -> Model | None:
    """Load the model that ``init`` names; None without ``init``."""
    return None if recipe.init is None else load_model(recipe.init)


def make_network(recipe: Recipe, metadata: ModelMetadata, parent: Model | None) -> nn.Module:
    """Make a network with its initial weights: random, an ImageNet encoder, or those of another model.

    Args:
        recipe: Names the architecture and the encoder weights.
        metadata: Metadata of the network to make.
        parent: Model to take weights from, or None; it is not changed.

    Raises:
        RecipeError: The weights belong to another architecture.
        ModelFileError: A file cannot be read.
    """
    if parent is not None and parent.metadata.pruned is not None:
        return _pruned_network(recipe, metadata, parent)
    network = metadata.build()
    if recipe.encoder_weights:
        _load_encoder(network, recipe.model, recipe.encoder_weights)
    if parent is None:
        return network
    own, learned = network.state_dict(), parent.network.state_dict()
    _check_fit(recipe, network, parent)
    # A head for other classes keeps its random weights, and the finer maps of FCN their untrained ones.
    kept = {k: v for k, v in learned.items() if v.shape == own[k].shape}
    network.load_state_dict(own | kept)
    log.info('init: %d of %d tensors are from %s', len(kept), len(own), parent.path)
    return network


def _check_fit(recipe: Recipe, network: nn.Module, parent: Model) -> None:
    """Refuse weights of another network.

    A stage may continue a coarser one: FCN-16s FCN-32s, and FCN-8s FCN-16s (Long et al. 2015, section 4.2).
    """
    own, learned = network.state_dict().keys(), parent.network.state_dict().keys()
    grown = getattr(network, 'grown', ())
    if learned <= own and all(name.startswith(tuple(grown)) for name in own - learned):
        return
    original = parent.metadata
    if original.architecture != recipe.model:
        raise RecipeError(f'init: {parent.path} is a {original.architecture}, not {recipe.model}')
    raise RecipeError(
        f'init: {parent.path} is a {recipe.model} with arguments {schema.shown(original.arguments)}, '
        f'which do not fit {schema.shown(recipe.arguments)}'
    )


def _load_encoder(network: nn.Module, architecture: str, weights: str) -> None:
    encoder = getattr(network, 'encoder', None)
    if not isinstance(encoder, Pretrained):
        raise RecipeError(
            f'encoder_weights: {architecture} has no encoder that loads ImageNet weights; with one: '
            + ', '.join(_with_encoders())
        )
    encoder.load_weights(Path(weights).expanduser())


def _with_encoders() -> list[str]:
    """Names of the architectures with an encoder that loads public weights."""
    with torch.device('meta'):
        return [
            name
            for name, build in MODELS.items()
            if isinstance(getattr(build(2), 'encoder', None), Pretrained)
        ]


def _pruned_network(recipe: Recipe, metadata: ModelMetadata, parent: Model) -> nn.Module:
    """A copy of a pruned network, with as few channels."""
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


def prepare_quantization(network: nn.Module, level: str, parent: Model | None) -> nn.Module:
    """Make a network compute at a quantization level while it learns, in place.

    Args:
        network: Network to change.
        level: Name in seg_ros.quantization.levels.QUANTIZATIONS.
        parent: Model that the network starts from; int8 takes its calibration record.

    Raises:
        CalibrationError: The level is int8 and the parent has no calibration record.
    """
    target = QUANTIZATIONS[level]
    if target.packed_as == 'shared':
        return share_network(network, target.n_bits)
    if target.packed_as is None:
        return network
    ranges = None
    if target.dtype == torch.int8:
        record = parent.metadata.calibration if parent else None
        if record is None:
            raise CalibrationError(
                f'init: {parent and parent.path} has no calibration record, which int8 needs; '
                'seg_ros quantize --level int8 makes one'
            )
        ranges = record['ranges']
    return fake_quantize(network, ranges, target.n_bits)


def add_embeddings(
    recipe: Recipe, network: ImageNetwork, parent: Model | None
) -> tuple[ImageNetwork | FilteredNetwork, EmbeddingMetadata | None]:
    """Add the embedding head and the filter of a recipe to a network.

    The head has random weights, or those of the parent's head if it has the same shape.

    Returns:
        The network, unchanged if the recipe has no embeddings, and the metadata of the embeddings.

    Raises:
        RecipeError: The network does not have a sub-module of ``taps``; the message lists those that it has.
    """
    settings = recipe.embeddings
    if settings is None:
        return network, None
    channels = dict(zip(settings.taps, _count_channels(network, settings.taps), strict=True))
    metadata = EmbeddingMetadata(
        channels,
        settings.dimensions,
        settings.stride,
        settings.window,
        settings.iterations,
        settings.averages,
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
    return FilteredNetwork(frames, settings.window, settings.iterations, settings.averages), metadata


def _count_channels(network: ImageNetwork, taps: Sequence[str]) -> list[int]:
    """Number of output channels of each sub-module in ``taps``."""
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


def load_teachers(
    recipe: Recipe, metadata: ModelMetadata, groups: Sequence[Sequence[int]] = ()
) -> Teachers | None:
    """Load the teachers of a recipe; None if it has none.

    Args:
        recipe: Names the teachers.
        metadata: Metadata of the network that learns.
        groups: Ids of the classes of each group that labels may be.

    Raises:
        RecipeError: A teacher has other classes than ``metadata``, and no translation.
        ModelFileError: Its file cannot be read.
    """
    if recipe.teacher is None:
        return None
    taught_by = [_load_teacher(network, metadata.classes) for network in recipe.teacher.networks]
    return Teachers(taught_by, recipe.teacher.temperature, groups if recipe.teacher.restricted else ())


def _load_teacher(settings: TeacherNetwork, classes: ClassSet) -> TaughtBy:
    model = load_model(settings.model)
    matrix = class_matrix(model.metadata.classes, classes, settings.names, shown_path(model.path))
    network = ImageNetwork(model.network, model.metadata.normalisation)
    return TaughtBy(network, matrix, settings.share, settings.scale)
