"""``seg_ros fit-codes``: give a model a binary layer, so that its segments get codes."""

import argparse
import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seg_ros.classes import ClassSet
from seg_ros.datasets.registry import SEGMENTED
from seg_ros.datasets.segmented import SegmentedImages
from seg_ros.errors import ModelFileError, ParameterError
from seg_ros.modelfile.file import Model, load_model, save_model
from seg_ros.modelfile.metadata import CodeMetadata, ModelMetadata
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork, Normalisation
from seg_ros.networks.pyramid import Encoder
from seg_ros.networks.registry import ENCODERS
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.fit_codes import CodeTuner, FineTuning, fit_itq
from seg_ros.training.golden_record import make_code_golden
from seg_ros.training.initial_network import EMBEDDINGS_LEFT_OUT

log = logging.getLogger(__name__)

USUAL_TAPS = {
    'enet': ('initial', 'stage1', 'stage2', 'stage3'),
    'efficientnet_lite_pyramid': ('encoder.stages.0', 'encoder.stages.1', 'encoder.stages.2', 'top'),
    'squeezenet': ('features.1', 'features.4', 'features.7', 'features.10', 'features.12'),
    'alexnet': ('conv1', 'conv2', 'conv5', 'fc7'),
}
"""Architecture -> sub-modules that codes are read from unless others are asked for."""

CAFFE = Normalisation((104 / 255, 117 / 255, 123 / 255), (1 / 255, 1 / 255, 1 / 255), 'bgr')
"""What encoders from Caffe were trained with: blue, green, red, minus their means."""

NORMALISATIONS = {'caffe': CAFFE, 'torchvision': Normalisation()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', nargs='+', choices=list(SEGMENTED), help='kinds of data set to learn from')
    parser.add_argument(
        '--data',
        type=Path,
        action='append',
        metavar='DIR',
        help='root of a data set; once for each, in their order',
    )
    parser.add_argument('--split', default='train', help='part of the data sets (default: %(default)s)')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--model', metavar='FILE', help='model to add codes to, or whose codes go on learning'
    )
    source.add_argument('--encoder', choices=list(ENCODERS), help='network without classes to start from')
    parser.add_argument(
        '--encoder-weights', type=Path, metavar='FILE', help='ImageNet weights of the encoder'
    )
    parser.add_argument('--encoder-version', help="SqueezeNet's version or AlexNet's layout")
    parser.add_argument(
        '--normalisation', choices=list(NORMALISATIONS), default='caffe', help='of --encoder (%(default)s)'
    )
    parser.add_argument('--input-size', type=int, nargs=2, default=(360, 480), metavar=('H', 'W'))
    parser.add_argument('--taps', nargs='+', metavar='NAME', help='sub-modules that codes are read from')
    parser.add_argument('--bits', type=int, default=128, help='of a code, 8..256 (default: %(default)s)')
    parser.add_argument('--without-colour', action='store_true', help='codes read the maps alone')
    group = parser.add_argument_group('fine-tuning by what people drew')
    defaults = FineTuning()
    group.add_argument('--epochs', type=int, default=defaults.epochs, help='0 = ITQ alone (%(default)s)')
    group.add_argument('--learning-rate', type=float, default=defaults.learning_rate, help='(%(default)s)')
    group.add_argument(
        '--encoder-learning-rate',
        type=float,
        default=defaults.encoder_learning_rate,
        help='of the network below the layer; 0 leaves it, and its classes, as they are (%(default)s)',
    )
    group.add_argument('--balance', type=float, default=defaults.balance, help='(%(default)s)')
    group.add_argument('--sharpness', type=float, default=defaults.sharpness, help='(%(default)s)')
    group.add_argument('--seed', type=int, default=defaults.seed, help='(%(default)s)')
    group = parser.add_argument_group('how segments are found later on')
    group.add_argument('--region-size', type=int, default=16, help='of superpixels (%(default)s)')
    group.add_argument('--merge-limit', type=float, default=0.1, help='(%(default)s)')
    group.add_argument('--size-power', type=float, default=0.1, help='(%(default)s)')
    group.add_argument('--border-share', type=float, default=0.6, help='(%(default)s)')
    parser.add_argument('--licence', default='', help='of the weights, for the model file')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FILE')


def run(arguments: argparse.Namespace) -> int:
    """Fit, fine-tune, write."""
    if arguments.data is None or len(arguments.data) != len(arguments.dataset):
        raise ParameterError('give --data DIR once for each data set, in their order')
    sources = [
        SEGMENTED[name](root, arguments.split)
        for name, root in zip(arguments.dataset, arguments.data, strict=True)
    ]
    settings = FineTuning(
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        encoder_learning_rate=arguments.encoder_learning_rate,
        balance=arguments.balance,
        sharpness=arguments.sharpness,
        seed=arguments.seed,
    )
    parent = load_model(arguments.model) if arguments.model else None
    metadata, network = _start_from(parent, settings) if parent else _start_anew(arguments)
    layer, code_metadata = _layer(arguments, parent, metadata, network)
    images = ImageNetwork(network, metadata.normalisation).eval()
    frames = FrameNetwork(
        images, has_scores=len(metadata.classes) > 0, codes=layer, taps=list(code_metadata.taps)
    ).eval()
    if parent is None or parent.codes is None:
        fit_itq(frames, [image for source in sources for image, _ in _some(source)], seed=arguments.seed)
    metadata = replace(
        metadata,
        codes=code_metadata,
        licence=arguments.licence or metadata.licence,
        parent={'digest': parent.digest, 'figures': parent.metadata.figures} if parent else None,
        training={**metadata.training, 'codes': _story(arguments, sources)},
    )
    losses = []
    _write(arguments.output, frames, metadata, parent)
    for loss in CodeTuner(frames, sources, settings).run() if arguments.epochs else ():
        losses.append(round(loss, 5))
        print(f'epoch {len(losses)} of {arguments.epochs}: loss {loss:.4f}', flush=True)
        training = {**metadata.training, 'codes': {**_story(arguments, sources), 'losses': losses}}
        _write(arguments.output, frames, replace(metadata, training=training), parent)
    print(f'written: {arguments.output}')
    return 0


def _start_from(parent: Model, settings: FineTuning) -> tuple[ModelMetadata, nn.Module]:
    """A model; its embeddings stay unless the network that they read learns."""
    metadata = parent.metadata
    if metadata.embeddings and settings.epochs and settings.encoder_learning_rate > 0:
        log.warning(EMBEDDINGS_LEFT_OUT)
        metadata = replace(metadata, embeddings=None)
    return metadata, parent.network


def _start_anew(arguments: argparse.Namespace) -> tuple[ModelMetadata, nn.Module]:
    """An encoder with a user's weights, or random ones."""
    key = {'squeezenet': 'version', 'alexnet': 'layout'}[arguments.encoder]
    options = {key: arguments.encoder_version} if arguments.encoder_version else {}
    height, width = arguments.input_size
    metadata = ModelMetadata(
        arguments.encoder,
        ClassSet(()),
        (height, width),
        NORMALISATIONS[arguments.normalisation],
        arguments=options,
        codes=CodeMetadata({}, arguments.bits),
    )
    torch.manual_seed(arguments.seed)
    network = metadata.build()
    if arguments.encoder_weights:
        assert isinstance(network, Encoder)
        network.load_weights(arguments.encoder_weights)
    return metadata, network


def _layer(
    arguments: argparse.Namespace, parent: Model | None, metadata: ModelMetadata, network: nn.Module
) -> tuple[BinaryLayer, CodeMetadata]:
    """The layer to fit: the parent's own, or a new one for the taps asked for."""
    if parent is not None and parent.codes is not None and parent.metadata.codes is not None:
        return parent.codes, parent.metadata.codes
    names = arguments.taps or USUAL_TAPS.get(metadata.architecture)
    if not names:
        raise ParameterError(f'{metadata.architecture} has no usual maps to read codes from; give --taps')
    probe = ImageNetwork(network, metadata.normalisation).eval()
    try:
        frames = FrameNetwork(probe, codes=None, taps=names)
        with torch.no_grad():
            maps = frames.maps(torch.zeros(1, *metadata.input_size, 3, dtype=torch.uint8))
    except (AttributeError, KeyError) as err:
        known = ', '.join(name for name, _ in network.named_children())
        raise ModelFileError(f'--taps {" ".join(names)}: {err}; it has {known}, ...') from err
    frames.close()
    code_metadata = CodeMetadata(
        {name: features.shape[1] for name, features in zip(names, maps, strict=True)},
        arguments.bits,
        has_colour=not arguments.without_colour,
        region_size=arguments.region_size,
        merge_limit=arguments.merge_limit,
        size_power=arguments.size_power,
        border_share=arguments.border_share,
    )
    return code_metadata.build(), code_metadata


def _some(source: SegmentedImages, n_most: int = 300) -> list[tuple]:  # type: ignore[type-arg]
    step = max(len(source) // n_most, 1)
    return [source[index] for index in range(0, len(source), step)]


def _story(arguments: argparse.Namespace, sources: Sequence[SegmentedImages]) -> dict[str, object]:
    """How the codes came about, for the model file."""
    return {
        'data': ' + '.join(
            f'{name} {arguments.split} ({len(source)} images)'
            for name, source in zip(arguments.dataset, sources, strict=True)
        ),
        'epochs': arguments.epochs,
        'learning_rate': arguments.learning_rate,
        'encoder_learning_rate': arguments.encoder_learning_rate,
        'balance': arguments.balance,
        'sharpness': arguments.sharpness,
        'seed': arguments.seed,
    }


def _write(path: Path, frames: FrameNetwork, metadata: ModelMetadata, parent: Model | None) -> None:
    frames.eval()
    labelled = parent.golden if parent and len(metadata.classes) else None
    golden = make_code_golden(frames, metadata.input_size, labelled)
    embeddings = parent.embeddings if parent and metadata.embeddings else None
    if embeddings is None:
        golden = replace(golden, filtered=None)
    network, level = frames.network.network, QUANTIZATIONS[metadata.quantization]
    if level.packed_as is None and level.dtype != torch.float32:
        network = copy.deepcopy(network).to(level.dtype)  # it learnt in float32
    save_model(path, network, metadata, golden, frames.codes, embeddings)
