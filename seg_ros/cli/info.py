"""``seg_ros info``: content of a model file."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from seg_ros.cli.options import MODEL_FILE

if TYPE_CHECKING:
    from seg_ros.inference.served_model import ServedModel
    from seg_ros.modelfile.file import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('file', help=MODEL_FILE)
    parser.add_argument('--json', action='store_true', help='print all metadata of the file as JSON')


def run(arguments: argparse.Namespace) -> int:
    """Print a summary, or all of the metadata as JSON."""
    from seg_ros.inference.served_model import ModelSource
    from seg_ros.inference.settings import Settings
    from seg_ros.modelfile.description import open_model

    model: Model | ServedModel
    if open_model(arguments.file).metadata.is_graph:
        model = ModelSource(Settings(model=str(arguments.file))).served
    else:
        from seg_ros.modelfile.file import load_model

        model = load_model(arguments.file)
    print(json.dumps(model.metadata.as_json(), indent=2) if arguments.json else summary(model))
    return 0


def summary(model: Model | ServedModel) -> str:
    """Summary of a model in about twelve lines."""
    from seg_ros.modelfile.levels import possible_levels

    metadata = model.metadata
    height, width = metadata.input_size
    figures = {k: v for k, v in metadata.figures.items() if isinstance(v, (int, float, str))}
    rows = {
        'file': f'{model.path} ({model.n_bytes} bytes)',
        'digest': model.digest,
        'architecture': f'{metadata.architecture}, {model.n_parameters} parameters, {metadata.quantization}',
        'input': f'{width} x {height} pixels, {metadata.normalisation.channel_order}, '
        f'mean {metadata.normalisation.mean}, std {metadata.normalisation.std}',
        'can run at': ', '.join(possible_levels(model)),
        'classes': ', '.join(metadata.classes.names) or 'none',
        'golden record': f'{len(model.golden.images)} images of {model.golden.images.shape[2]} x '
        f'{model.golden.images.shape[1]} pixels',
        'codes': _codes(model),
        'embeddings': _embeddings(model),
        'confidence': '' if metadata.temperature == 1 else f'of scores divided by {metadata.temperature:g}',
        'trained on': str(metadata.training.get('data', 'unknown')),
        'figures': ', '.join(
            f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures.items()
        ),
        'licence': metadata.licence or 'unknown',
    }
    return '\n'.join(f'{name:14} {value}' for name, value in rows.items() if value)


def _embeddings(model: Model | ServedModel) -> str:
    embeddings = model.metadata.embeddings
    if embeddings is None:
        return ''
    return (
        f'{embeddings.dimensions} dimensions at a stride of {embeddings.stride} pixels, from the image, '
        f'{", ".join(embeddings.taps)}; filter {embeddings.window} x {embeddings.window}, '
        f'{embeddings.iterations} iterations, averages {embeddings.averages}, '
        f'hardness {_hardness(model):.3g}'
    )


def _hardness(model: Model | ServedModel) -> float:
    from seg_ros.inference.served_model import ServedModel

    if isinstance(model, ServedModel):
        return model.hardness or 0.0
    return float(model.embeddings.hardness.detach()) if model.embeddings else 0.0


def _codes(model: Model | ServedModel) -> str:
    codes = model.metadata.codes
    if codes is None:
        return ''
    read = [*(_tap(model, name) for name in codes.taps), *(['colour'] if codes.has_colour else [])]
    return (
        f'{codes.n_bits} bits from {", ".join(read)}; {codes.superpixels} of {codes.region_size} pixels, '
        f'merged up to {codes.merge_limit:.1%} of differing bits'
    )


def _tap(model: Model | ServedModel, name: str) -> str:
    """Name of a tap; the output of a convolution is told apart, because no ReLU has seen it."""
    from seg_ros.inference.served_model import ServedModel

    if isinstance(model, ServedModel):  # a graph has no names of modules
        return name
    from torch import nn

    is_convolution = isinstance(model.network.get_submodule(name), nn.Conv2d)
    return f'{name} (not rectified)' if is_convolution else name
