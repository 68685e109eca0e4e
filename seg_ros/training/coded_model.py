"""Models with codes: a binary layer is added to a network, fitted, fine-tuned, and written to a file."""

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.segmented import ImagesOnly, SegmentedImages
from seg_ros.datasets.walk import walk
from seg_ros.errors import ModelFileError, ParameterError, UnavailableError
from seg_ros.modelfile.file import Model, save_model
from seg_ros.modelfile.metadata import CodeMetadata, ModelMetadata
from seg_ros.modelfile.precision import network_at
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.pyramid import Encoder
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.fit_codes import CodeTuner, FineTuning, fit_itq
from seg_ros.training.golden_record import make_code_golden
from seg_ros.training.initial_network import EMBEDDINGS_LEFT_OUT
from seg_ros.training.sparsity import sparsity_of

log = logging.getLogger(__name__)

DEFAULT_TAPS = {
    'enet': ('initial', 'stage1', 'stage2', 'stage3'),
    'efficientnet_lite_pyramid': ('encoder.stages.0', 'encoder.stages.1', 'encoder.stages.2', 'top'),
    'espnetv2': ('base_net.level1.act', 'base_net.level2_0.act', 'base_net.level3', 'base_net.level4'),
    'segnet': ('encoder.scales.0', 'encoder.scales.1', 'encoder.scales.2', 'encoder.scales.3'),
    'segnet_basic': ('encoder.0', 'encoder.1', 'encoder.2', 'encoder.3'),
    'segnet_small': ('encoder.0', 'encoder.1'),
    'squeezenet_pyramid': ('encoder.features.1', 'encoder.features.4', 'encoder.features.7', 'top'),
    'squeezenet': ('features.1', 'features.4', 'features.7', 'features.10', 'features.12'),
    'alexnet': ('relu1', 'relu2', 'relu5', 'relu7'),
}
"""Architecture -> sub-modules whose output the binary layer reads by default.

FCN and hypercolumns have none, since their arguments choose the encoder. Where the paper reads rectified
maps, these do too. Files from before AlexNet had the modules relu1 to relu7 read conv1, conv2, conv5 and fc7,
whose values may be negative; they load, and ``seg_ros info`` tells it.
"""

_CAFFE = Normalisation((104 / 255, 117 / 255, 123 / 255), (1 / 255, 1 / 255, 1 / 255), 'bgr')
"""Normalisation of encoders from Caffe: blue, green, red, minus their means."""

NORMALISATIONS = {'caffe': _CAFFE, 'torchvision': Normalisation()}
"""Normalisations of pretrained encoders."""

_VERSION_ARGUMENT = {'squeezenet': 'version', 'alexnet': 'layout'}
"""Encoder -> its argument for the version."""

_MAX_ITQ_IMAGES = 300
"""Maximum number of images of a data set for ITQ."""


@dataclass(frozen=True)
class CodeStart:
    """Network that codes are added to.

    Attributes:
        metadata: Metadata of the network.
        network: The network.
        parent: Model file that the network comes from, or None.
    """

    metadata: ModelMetadata
    network: nn.Module
    parent: Model | None = None


@dataclass(frozen=True)
class CodeData:
    """Images to learn codes from.

    Attributes:
        sources: Data sets with segments.
        names: Name and split of each data set, for the model file.
    """

    sources: Sequence[SegmentedImages]
    names: Sequence[str]


def start_from_model(parent: Model, settings: FineTuning) -> CodeStart:
    """Start from a model file. Its embeddings stay unless the network below them is trained."""
    parent.pytorch_network('fitting of codes')
    metadata = parent.metadata
    if metadata.embeddings and settings.epochs and settings.encoder_learning_rate > 0:
        log.warning(EMBEDDINGS_LEFT_OUT)
        metadata = replace(metadata, embeddings=None)
    return CodeStart(metadata, parent.network, parent)


def start_from_encoder(
    encoder: str,
    n_bits: int,
    *,
    version: str | None = None,
    weights: Path | None = None,
    normalisation: Normalisation = _CAFFE,
    input_size: tuple[int, int] = (360, 480),
    seed: int = 0,
) -> CodeStart:
    """Start from an encoder without classes.

    Args:
        encoder: Name in ``seg_ros.networks.registry.ENCODERS``.
        n_bits: Number of bits of a code.
        version: Version of SqueezeNet or layout of AlexNet; None = the default.
        weights: File with ImageNet weights; None = random weights.
        normalisation: Normalisation of the input.
        input_size: (height, width) of the input in pixels.
        seed: Seed of the random weights.

    Raises:
        ModelFileError: The weights cannot be read, or do not fit.
    """
    metadata = ModelMetadata(
        encoder,
        ClassSet(()),
        input_size,
        normalisation,
        arguments={_VERSION_ARGUMENT[encoder]: version} if version else {},
        codes=CodeMetadata({}, n_bits),
    )
    torch.manual_seed(seed)
    network = metadata.build()
    if weights:
        if not isinstance(network, Encoder):
            raise UnavailableError(f'{encoder} does not load ImageNet weights; leave them out')
        network.load_weights(weights)
    return CodeStart(metadata, network)


def make_coded_model(
    path: Path,
    start: CodeStart,
    codes: CodeMetadata,
    data: CodeData,
    settings: FineTuning,
    *,
    taps: Sequence[str] | None = None,
    licence: str = '',
) -> Iterator[float]:
    """Fit a binary layer by ITQ, fine-tune it, and write the model file before and after each epoch.

    Args:
        path: Path of the model file to write.
        start: Network to start from. If it has codes already, its layer is fine-tuned without ITQ.
        codes: Metadata of a new layer, without taps.
        data: Images to learn from.
        settings: Settings of the fine-tuning.
        taps: Sub-modules whose output the layer reads; None = those of DEFAULT_TAPS.
        licence: Licence of the weights; '' = that of the network.

    Yields:
        Mean loss of each epoch.

    Raises:
        ModelFileError: The network has no sub-module of the name of a tap.
        ParameterError: No taps are known for the architecture, or there are no images.
    """
    parent = start.parent
    has_codes = parent is not None and parent.codes is not None
    layer, codes = _code_layer(start, codes, taps)
    images = frozen_network(start.network, start.metadata)
    if settings.epochs and settings.encoder_learning_rate > 0 and images.network is not start.network:
        raise UnavailableError(
            f'the weights are rounded to {start.metadata.quantization}, so the network cannot be fine-tuned; '
            'leave --encoder-learning-rate at 0'
        )
    has_scores = len(start.metadata.classes) > 0
    frames = FrameNetwork(images, has_scores=has_scores, codes=layer, taps=list(codes.taps)).eval()
    if not has_codes:
        fit_itq(frames, _itq_images(data.sources), seed=settings.seed)
    losses: list[float] = []
    metadata = replace(
        start.metadata,
        codes=codes,
        licence=licence or start.metadata.licence,
        parent={'digest': parent.digest, 'figures': parent.metadata.figures} if parent else None,
    )
    _write(path, start.network, frames, _with_record(metadata, data, settings, losses), parent)
    zeros = sparsity_of(parent) if images.network is start.network else None
    sparsity = zeros.within(start.network, frames) if zeros else None
    for loss in CodeTuner(frames, data.sources, settings, sparsity).run() if settings.epochs else ():
        losses.append(round(loss, 5))
        _write(path, start.network, frames, _with_record(metadata, data, settings, losses), parent)
        yield loss


def frozen_network(network: nn.Module, metadata: ModelMetadata) -> ImageNetwork:
    """The network below a binary layer or an embedding head, in evaluation mode.

    Args:
        network: The network itself, which the result contains if its weights are floats.
        metadata: Its metadata. With rounded weights, the result computes as the level does.
    """
    if QUANTIZATIONS[metadata.quantization].packed_as is not None:
        return network_at(network, metadata, metadata.quantization)
    return ImageNetwork(network, metadata.normalisation).eval()


def _code_layer(
    start: CodeStart, codes: CodeMetadata, taps: Sequence[str] | None
) -> tuple[BinaryLayer, CodeMetadata]:
    """Layer of the parent, or a new one for the taps."""
    parent = start.parent
    if parent is not None and parent.codes is not None and parent.metadata.codes is not None:
        return parent.codes, parent.metadata.codes
    names = taps or DEFAULT_TAPS.get(start.metadata.architecture)
    if not names:
        raise ParameterError(f'{start.metadata.architecture} has no default taps; name some with --taps')
    codes = replace(codes, taps=tap_channels(start.metadata, start.network, names))
    return codes.build(), codes


def tap_channels(metadata: ModelMetadata, network: nn.Module, names: Sequence[str]) -> dict[str, int]:
    """Number of channels of each tap.

    Args:
        metadata: Metadata of the network.
        network: The network.
        names: Names of sub-modules.

    Raises:
        ModelFileError: The network has no such sub-module.
    """
    probe = ImageNetwork(network, metadata.normalisation).eval()
    try:
        frames = FrameNetwork(probe, codes=None, taps=list(names))
        with torch.no_grad():
            maps = frames.maps(torch.zeros(1, *metadata.input_size, 3, dtype=torch.uint8))
    except (AttributeError, KeyError) as err:
        known = ', '.join(name for name, _ in network.named_children())
        raise ModelFileError(f'taps {" ".join(names)}: {err}; the network has {known}, ...') from err
    frames.close()
    return {name: features.shape[1] for name, features in zip(names, maps, strict=True)}


def _itq_images(sources: Sequence[SegmentedImages]) -> list[UInt8Array]:
    """Images for ITQ, spread evenly over each data set."""
    images = []
    for source in sources:
        step = max(len(source) // _MAX_ITQ_IMAGES, 1)
        images += [image for _, image in walk(ImagesOnly(source), indices=range(0, len(source), step))]
    return images


def _with_record(
    metadata: ModelMetadata, data: CodeData, settings: FineTuning, losses: list[float]
) -> ModelMetadata:
    """Metadata with a record of how the codes were learned."""
    sizes = zip(data.names, data.sources, strict=True)
    record: dict[str, Any] = {
        'data': ' + '.join(f'{name} ({len(source)} images)' for name, source in sizes),
        'epochs': settings.epochs,
        'learning_rate': settings.learning_rate,
        'encoder_learning_rate': settings.encoder_learning_rate,
        'balance': settings.balance,
        'sharpness': settings.sharpness,
        'seed': settings.seed,
    }
    if losses:
        record['losses'] = list(losses)
    return replace(metadata, training={**metadata.training, 'codes': record})


def _write(
    path: Path, network: nn.Module, frames: FrameNetwork, metadata: ModelMetadata, parent: Model | None
) -> None:
    """Write the model file, with a new golden record."""
    frames.eval()
    labelled = parent.golden if parent and len(metadata.classes) else None
    golden = make_code_golden(frames, metadata.input_size, labelled)
    embeddings = parent.embeddings if parent and metadata.embeddings else None
    if embeddings is None:
        golden = replace(golden, filtered=None)
    level = QUANTIZATIONS[metadata.quantization]
    if level.packed_as is None and level.dtype != torch.float32:
        network = copy.deepcopy(network).to(level.dtype)  # fine-tuning computes in float32
    save_model(path, network, metadata, golden, frames.codes, embeddings)
