"""``seg_ros compress``: run a recipe of compression steps."""

import argparse
from pathlib import Path

from seg_ros.cli.compression_step import print_sizes
from seg_ros.cli.options import add_data, add_output, add_recipe, add_training_device, find_recipe
from seg_ros.compression.chain import CompressionRecipe, compress
from seg_ros.modelfile.file import load_model
from seg_ros.training.distributed import join, leave
from seg_ros.training.interrupts import remembered_interrupts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_recipe(parser, 'segnet_camvid')
    add_data(parser)
    add_output(
        parser,
        'FOLDER',
        'folder of the chain (default: runs/NAME); steps that are finished there are not repeated',
    )
    add_training_device(parser)


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
        print_sizes(load_model(recipe.model), load_model(made))
    return 0
