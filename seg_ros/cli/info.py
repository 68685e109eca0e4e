"""``seg_ros info``: what is in a model file."""

import argparse
import json

from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.find import find_model
from seg_ros.modelfile.metadata import CodeDescription


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('file', help='model file: a path, or the name of a shipped model')
    parser.add_argument('--json', action='store_true', help="print the file's whole metadata")


def run(arguments: argparse.Namespace) -> int:
    """Print a summary, or all of the metadata as JSON."""
    model = load_model(find_model(arguments.file))
    print(json.dumps(model.description.as_json(), indent=2) if arguments.json else summary(model))
    return 0


def summary(model: Model) -> str:
    """The model in a dozen lines."""
    about = model.description
    height, width = about.input_size
    figures = {k: v for k, v in about.figures.items() if isinstance(v, (int, float, str))}
    rows = {
        'file': f'{model.path} ({model.n_bytes} bytes)',
        'digest': model.digest,
        'architecture': f'{about.architecture}, {model.n_parameters} parameters, {about.quantization}',
        'input': f'{width} x {height} pixels, {about.normalisation.channel_order}, '
        f'mean {about.normalisation.mean}, std {about.normalisation.std}',
        'classes': ', '.join(about.classes.names) or 'none',
        'golden record': f'{len(model.golden.images)} images of {model.golden.images.shape[2]} x '
        f'{model.golden.images.shape[1]} pixels',
        'codes': _codes(about.codes),
        'embeddings': _embeddings(model),
        'trained on': str(about.training.get('data', 'not said')),
        'figures': ', '.join(
            f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures.items()
        ),
        'licence': about.licence or 'not said',
    }
    return '\n'.join(f'{name:14} {value}' for name, value in rows.items() if value)


def _embeddings(model: Model) -> str:
    about, head = model.description.embeddings, model.embeddings
    if about is None or head is None:
        return ''
    return (
        f'{about.dimensions} numbers at every {about.stride}th pixel each way, from the image, '
        f'{", ".join(about.taps)}; filter {about.window} x {about.window}, {about.iterations} times, '
        f'hardness {float(head.hardness.detach()):.3g}'
    )


def _codes(about: CodeDescription | None) -> str:
    if about is None:
        return ''
    read = [*about.taps, *(['colour'] if about.has_colour else [])]
    return (
        f'{about.n_bits} bits from {", ".join(read)}; {about.superpixels} of {about.region_size} pixels, '
        f'joined up to {about.merge_limit:.1%} of the bits'
    )
