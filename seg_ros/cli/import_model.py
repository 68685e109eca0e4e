"""``seg_ros import``: networks of others become model files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from seg_ros.cli.options import add_model_output, mapping_from
from seg_ros.errors import ParameterError

if TYPE_CHECKING:
    from seg_ros.classes import ClassSet
    from seg_ros.importing.onnx_import import Imported

ORDERS = ('rgb', 'bgr')
LAYOUTS = ('nchw', 'nhwc')
MEANINGS = ('scores', 'probabilities', 'labels')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        'file', type=Path, metavar='FILE', help='ONNX file; with --network: weights, .pth or .safetensors'
    )
    add_model_output(parser, 'model file to write, such as mine.safetensors')
    parser.add_argument(
        '--classes', required=True, help='class file of the network: name of a shipped file, or path'
    )
    parser.add_argument(
        '--normalisation',
        metavar='NAME',
        help='normalisation of the input: imagenet, unit (0..1), signed (-1..1), raw (0..255), caffe, or '
        'three means and deviations on the scale 0..1, as in 0.5,0.5,0.5/0.25,0.25,0.25 (default: guessed)',
    )
    parser.add_argument(
        '--channel-order', choices=ORDERS, help='order of channels (default: that of the normalisation)'
    )
    parser.add_argument(
        '--input-size', metavar='WIDTHxHEIGHT', help='size of the input in pixels (default: that of the file)'
    )
    parser.add_argument(
        '--golden',
        nargs='+',
        type=Path,
        default=[],
        metavar='IMAGE',
        help='images or folders for the golden record (default: rendered streets)',
    )
    parser.add_argument('--licence', default='', help='licence of the weights, such as Apache-2.0')
    group = parser.add_argument_group('weights in PyTorch layout')
    group.add_argument(
        '--network', metavar='NAME', help='network of seg_ros that the weights are of, such as enet'
    )
    group.add_argument(
        '--arguments', default='{}', metavar='YAML', help='arguments of the network, such as "{width: 32}"'
    )
    group = parser.add_argument_group('ONNX')
    group.add_argument('--layout', choices=LAYOUTS, help='order of the axes of the input (default: found)')
    group.add_argument(
        '--graph-output', metavar='NAME', help='output, or inner tensor, with the result (default: found)'
    )
    group.add_argument(
        '--meaning',
        choices=MEANINGS,
        help='meaning of the output: before softmax or sigmoid, after it, or ids of classes (default: found)',
    )


def run(arguments: argparse.Namespace) -> int:
    """Import the file, and print what was found."""
    from seg_ros.classes import ClassSet
    from seg_ros.importing.onnx_import import OnnxChoices, import_onnx
    from seg_ros.resources import find_file

    classes = ClassSet.from_yaml(
        find_file(arguments.classes, 'config/labels', ('.yaml', '.yml'), 'class file')
    )
    if arguments.network is not None:
        return _import_weights(arguments, classes)
    if arguments.file.suffix in ('.pth', '.pt', '.safetensors'):
        raise ParameterError(
            f'{arguments.file} holds weights; --network must name the network that they are of'
        )
    choices = OnnxChoices(
        normalisation=arguments.normalisation,
        channel_order=arguments.channel_order,
        layout=arguments.layout,
        size=size_from(arguments.input_size),
        output=arguments.graph_output,
        meaning=arguments.meaning,
        golden=arguments.golden,
        licence=arguments.licence,
    )
    return _told(import_onnx(arguments.file, arguments.output, classes, choices))


def _import_weights(arguments: argparse.Namespace, classes: ClassSet) -> int:
    from seg_ros.importing.weights_import import WeightChoices, import_weights

    for name in ('layout', 'graph_output', 'meaning'):
        if getattr(arguments, name) is not None:
            raise ParameterError(f'--{name.replace("_", "-")} is for ONNX files; leave it out with --network')
    choices = WeightChoices(
        arguments=mapping_from(arguments.arguments, '--arguments'),
        normalisation=arguments.normalisation,
        channel_order=arguments.channel_order,
        size=size_from(arguments.input_size),
        golden=tuple(arguments.golden),
        licence=arguments.licence,
    )
    imported = import_weights(arguments.file, arguments.output, arguments.network, classes, choices)
    return _told(imported)


def _told(imported: Imported) -> int:
    from seg_ros.evaluation.figures import format_table

    print(format_table(imported.facts))
    for warning in imported.warnings:
        print(f'note: {warning}')
    return 0


def size_from(text: str | None) -> tuple[int, int] | None:
    """(height, width) from ``WIDTHxHEIGHT``; None from None.

    Raises:
        ParameterError: The text is not a size.
    """
    if text is None:
        return None
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal() and 0 < int(width) <= 8192 and 0 < int(height) <= 8192):
        raise ParameterError(f"--input-size is '{text}'; expected WIDTHxHEIGHT in pixels, such as 480x360")
    return int(height), int(width)
