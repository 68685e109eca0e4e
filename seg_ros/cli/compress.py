"""``seg_ros compress``: run a recipe of steps, each of which makes a model smaller."""

import argparse
from pathlib import Path

from seg_ros.cli.compress_options import add_device, report
from seg_ros.cli.train import find_recipe
from seg_ros.compression.chain import CompressionRecipe, compress
from seg_ros.modelfile.file import load_model
from seg_ros.training.distributed import join, leave
from seg_ros.training.interrupts import remembered_interrupts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('recipe', help='recipe file, or the name of a shipped one')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='FOLDER',
        help='folder of the chain (default: runs/NAME); steps that are done there are not done again',
    )
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='change the recipe; may be repeated'
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the chain."""
    path = find_recipe(arguments.recipe, 'compress')
    recipe = CompressionRecipe.from_yaml(path, arguments.set)
    processes = join(arguments.device)
    try:
        folder = arguments.output or Path('runs') / path.stem
        with remembered_interrupts():
            made = compress(recipe, arguments.data, folder, processes)
    finally:
        leave()
    if processes.is_main:
        report(load_model(recipe.model), load_model(made))
    return 0
