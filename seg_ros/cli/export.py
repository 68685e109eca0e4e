"""``seg_ros export``: a model becomes a file with its ONNX graph, which runs without torch."""

from __future__ import annotations

import argparse

from seg_ros.cli.options import add_model_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('model', metavar='MODEL', help='model file, or name of a shipped model')
    parser.add_argument(
        '--quantization',
        default='auto',
        metavar='LEVEL',
        help='level, fp32 or int8 (default: auto)',
    )
    add_model_output(parser, 'model file to write, such as robot.safetensors')


def run(arguments: argparse.Namespace) -> int:
    """Export a model, and print what was written."""
    from seg_ros.importing.graph_export import export_graph

    exported = export_graph(arguments.model, arguments.quantization, arguments.output)
    model = exported.model
    parts = {'labels': True, 'codes': model.code_pooling, 'embeddings': model.hardness}
    has = ', '.join(name for name, part in parts.items() if part)
    print(
        f'written: {model.path}, {model.n_bytes / 1000:.0f} KB, {has}; '
        f'{exported.backend_name} gives the recorded label for {exported.agreement:.1%} of its golden pixels'
    )
    return 0
