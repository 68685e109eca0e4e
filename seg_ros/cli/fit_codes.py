"""``seg_ros fit-codes``: add a binary layer to a model, so that its segments have codes."""

import argparse
from pathlib import Path

from seg_ros.cli.options import MODEL_FILE, add_datasets, add_model_output, folders_from
from seg_ros.datasets.registry import SEGMENTED
from seg_ros.datasets.segmented import ImagesAlone, SegmentedImages
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.metadata import CodeMetadata
from seg_ros.networks.registry import ENCODERS
from seg_ros.training.coded_model import (
    NORMALISATIONS,
    CodeData,
    CodeStart,
    make_coded_model,
    start_from_encoder,
    start_from_model,
)
from seg_ros.training.fit_codes import FineTuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_datasets(parser, SEGMENTED)
    _add_network(parser)
    parser.add_argument(
        '--bits', type=int, default=128, help='number of bits of a code, 8..256 (default: %(default)s)'
    )
    parser.add_argument(
        '--without-colour', action='store_true', help='compute codes without the colour of the pixels'
    )
    _add_fine_tuning(parser)
    _add_merging(parser)
    parser.add_argument(
        '--licence', default='', help='licence of the weights, for the model file (default: that of --model)'
    )
    add_model_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fit, fine-tune, write."""
    data = _open_data(arguments)
    settings = FineTuning(
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        encoder_learning_rate=arguments.encoder_learning_rate,
        balance=arguments.balance,
        sharpness=arguments.sharpness,
        seed=arguments.seed,
    )
    codes = CodeMetadata(
        {},
        arguments.bits,
        has_colour=not arguments.without_colour,
        region_size=arguments.region_size,
        merge_limit=arguments.merge_limit,
        size_power=arguments.size_power,
        border_share=arguments.border_share,
    )
    losses = make_coded_model(
        arguments.output,
        _start(arguments, settings),
        codes,
        data,
        settings,
        taps=arguments.taps,
        licence=arguments.licence,
    )
    for epoch, loss in enumerate(losses, start=1):
        print(f'epoch {epoch} of {arguments.epochs}: loss {loss:.4f}', flush=True)
    print(f'written: {arguments.output}')
    return 0


def _open_data(arguments: argparse.Namespace) -> CodeData:
    """Open all data sets.

    Raises:
        ParameterError: The numbers of data sets and folders differ.
    """
    sources: list[SegmentedImages] = [
        ImagesAlone(root, arguments.split)
        if name == 'folder' and arguments.epochs == 0  # ITQ needs no segments
        else SEGMENTED[name](root, arguments.split)
        for name, root in folders_from(arguments)
    ]
    return CodeData(sources, [f'{name} {arguments.split}' for name in arguments.dataset])


def _start(arguments: argparse.Namespace, settings: FineTuning) -> CodeStart:
    """Start from ``--model`` or ``--encoder``."""
    if arguments.model:
        return start_from_model(load_model(arguments.model), settings)
    height, width = arguments.input_size
    return start_from_encoder(
        arguments.encoder,
        arguments.bits,
        version=arguments.encoder_version,
        weights=arguments.encoder_weights,
        normalisation=NORMALISATIONS[arguments.normalisation],
        input_size=(height, width),
        seed=arguments.seed,
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--model', metavar='FILE', help=f'{MODEL_FILE}; its codes, if it has any, are fine-tuned further'
    )
    source.add_argument('--encoder', choices=list(ENCODERS), help='network without classes to start from')
    parser.add_argument(
        '--encoder-weights',
        type=Path,
        metavar='FILE',
        help='file with ImageNet weights of the encoder (default: random weights)',
    )
    parser.add_argument(
        '--encoder-version', help='version of SqueezeNet, or layout of AlexNet (default: that of the class)'
    )
    parser.add_argument(
        '--normalisation',
        choices=list(NORMALISATIONS),
        default='caffe',
        help='normalisation of the input of --encoder (default: %(default)s)',
    )
    parser.add_argument(
        '--input-size',
        type=int,
        nargs=2,
        default=(360, 480),
        metavar=('H', 'W'),
        help='height and width of the input of --encoder, in pixels (default: 360 480)',
    )
    parser.add_argument(
        '--taps',
        nargs='+',
        metavar='NAME',
        help='sub-modules whose output the binary layer reads (default: usual ones of the architecture)',
    )


def _add_fine_tuning(parser: argparse.ArgumentParser) -> None:
    group, defaults = parser.add_argument_group('fine-tuning by segments drawn by people'), FineTuning()
    group.add_argument(
        '--epochs',
        type=int,
        default=defaults.epochs,
        help='number of epochs; 0 = ITQ alone (default: %(default)s)',
    )
    group.add_argument(
        '--learning-rate',
        type=float,
        default=defaults.learning_rate,
        help='learning rate of the binary layer (default: %(default)s)',
    )
    group.add_argument(
        '--encoder-learning-rate',
        type=float,
        default=defaults.encoder_learning_rate,
        help='learning rate of the network below the layer; 0 = the network and its classes do not change '
        '(default: %(default)s)',
    )
    group.add_argument(
        '--balance',
        type=float,
        default=defaults.balance,
        help='weighting, 0..1: 1 = all segments count alike, 0 = all pairs of superpixels do '
        '(default: %(default)s)',
    )
    group.add_argument(
        '--sharpness',
        type=float,
        default=defaults.sharpness,
        help='final slope of the sigmoid (default: %(default)s)',
    )
    group.add_argument(
        '--seed', type=int, default=defaults.seed, help='seed of all randomness (default: %(default)s)'
    )


def _add_merging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('settings of segments in the model file')
    group.add_argument(
        '--region-size', type=int, default=16, help='size of superpixels in pixels (default: %(default)s)'
    )
    group.add_argument(
        '--merge-limit',
        type=float,
        default=0.1,
        help='maximum fraction of differing bits for merging adjacent segments, 0..1 (default: %(default)s)',
    )
    group.add_argument(
        '--size-power',
        type=float,
        default=0.1,
        help='preference for merging small segments, 0..10; 0 = none (default: %(default)s)',
    )
    group.add_argument(
        '--border-share',
        type=float,
        default=0.6,
        help='weight of the codes along a border against those of whole segments, 0..1 '
        '(default: %(default)s)',
    )
