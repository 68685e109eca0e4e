"""``seg_ros info``: what is in a model file."""

import argparse
import json

from seg_ros.modelfile.file import Model, load_model
from seg_ros.modelfile.metadata import CodeMetadata


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('file', help='model file: a path, or the name of a shipped model')
    parser.add_argument('--json', action='store_true', help="print the file's whole metadata")


def run(arguments: argparse.Namespace) -> int:
    """Print a summary, or all of the metadata as JSON."""
    model = load_model(arguments.file)
    print(json.dumps(model.metadata.as_json(), indent=2) if arguments.json else summary(model))
    return 0


def summary(model: Model) -> str:
    """The model in a dozen lines."""
    metadata = model.metadata
    height, width = metadata.input_size
    figures = {k: v for k, v in metadata.figures.items() if isinstance(v, (int, float, str))}
    rows = {
        'file': f'{model.path} ({model.n_bytes} bytes)',
        'digest': model.digest,
        'architecture': f'{metadata.architecture}, {model.n_parameters} parameters, {metadata.quantization}',
        'input': f'{width} x {height} pixels, {metadata.normalisation.channel_order}, '
        f'mean {metadata.normalisation.mean}, std {metadata.normalisation.std}',
        'classes': ', '.join(metadata.classes.names) or 'none',
        'golden record': f'{len(model.golden.images)} images of {model.golden.images.shape[2]} x '
        f'{model.golden.images.shape[1]} pixels',
        'codes': _codes(metadata.codes),
        'embeddings': _embeddings(model),
        'trained on': str(metadata.training.get('data', 'not said')),
        'figures': ', '.join(
            f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures.items()
        ),
        'licence': metadata.licence or 'not said',
    }
    return '\n'.join(f'{name:14} {value}' for name, value in rows.items() if value)


def _embeddings(model: Model) -> str:
    embeddings, head = model.metadata.embeddings, model.embeddings
    if embeddings is None or head is None:
        return ''
    return (
        f'{embeddings.dimensions} numbers at every {embeddings.stride}th pixel each way, from the image, '
        f'{", ".join(embeddings.taps)}; filter {embeddings.window} x {embeddings.window}, '
        f'{embeddings.iterations} times, '
        f'hardness {float(head.hardness.detach()):.3g}'
    )


def _codes(codes: CodeMetadata | None) -> str:
    if codes is None:
        return ''
    read = [*codes.taps, *(['colour'] if codes.has_colour else [])]
    return (
        f'{codes.n_bits} bits from {", ".join(read)}; {codes.superpixels} of {codes.region_size} pixels, '
        f'joined up to {codes.merge_limit:.1%} of the bits'
    )
