"""``seg_ros train``: train a network by a recipe, and write a model file.

With several processes: ``torchrun --nproc-per-node=2 -m seg_ros.cli train ...``.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from seg_ros._numba import n_cores
from seg_ros.cli.options import add_data, add_output, add_recipe, add_training_device, find_recipe
from seg_ros.errors import RecipeError
from seg_ros.training.distributed import join, leave
from seg_ros.training.interrupts import remembered_interrupts
from seg_ros.training.recipe import Recipe
from seg_ros.training.results import measure_best
from seg_ros.training.run_state import BEST_FILE, LAST_FILE
from seg_ros.training.setup import TrainingSetup, set_up
from seg_ros.training.trainer import Trainer

RESULTS_FILE = 'results.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_recipe(parser, 'squares')
    add_data(parser)
    add_output(
        parser,
        'FOLDER',
        'folder of the run (default: runs/NAME); a run that was stopped there is continued',
    )
    add_training_device(parser)
    parser.add_argument(
        '--threads', type=int, metavar='N', help='number of CPU threads (default: one for each core)'
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, measure, report."""
    path = find_recipe(arguments.recipe)
    recipe = Recipe.from_yaml(path, arguments.set)
    folder = arguments.output or Path('runs') / path.stem
    processes = join(arguments.device)
    try:
        _set_threads(arguments.threads)
        with remembered_interrupts():
            setup = set_up(recipe, arguments.data, folder, processes, commit=commit_of(path))
            Trainer(setup).run()
            if processes.is_main:
                _report(setup)
    except KeyboardInterrupt:
        if processes.is_main:
            print(
                f'\nstopped; the same command continues from the last full epoch in {folder}', file=sys.stderr
            )
        return 130
    finally:
        leave()
    return 0


def commit_of(path: Path) -> str | None:
    """Commit of the repository that has a file, with ``-dirty`` after local changes; None = no repository."""
    words = ['git', '-C', str(path.parent), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _set_threads(wanted: int | None) -> None:
    """Use ``wanted`` threads, or an equal part of the cores for each process on this computer."""
    if wanted is not None and wanted < 1:
        raise RecipeError(f'--threads is {wanted}; expected 1 or more')
    n_neighbours = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    torch.set_num_threads(wanted or max(n_cores() // n_neighbours, 1))


def _report(setup: TrainingSetup) -> None:
    """Print the tables and the paths, and write the figures as JSON."""
    folder, results = setup.folder, measure_best(setup)
    (folder / RESULTS_FILE).write_text(json.dumps(results, indent=2) + '\n')
    for name, figures in results.items():
        print(f'\n{BEST_FILE} on {name}, percent:\n{_table(figures)}')
    print('\nwritten:')
    for name in (BEST_FILE, LAST_FILE, RESULTS_FILE, 'curves.csv', 'curves.png'):
        print(f'  {folder / name}')


def _table(figures: dict[str, Any]) -> str:
    """Table of the IoU of each class and the averages, in percent."""
    n_classes = sum(value is not None for value in figures['class_iou'].values())
    is_mean = n_classes > 1  # with one class, every answer of that class is perfect
    rows = {
        **figures['class_iou'],
        'mean IoU': figures['mean_iou'] if is_mean else None,
        'class average': figures['class_average'] if is_mean else None,
        'pixel accuracy': figures.get('pixel_accuracy') if is_mean else None,
    }
    width = max(map(len, rows))
    table = '\n'.join(
        f'  {name:{width}}  ' + ('    -' if value is None else f'{100 * value:6.2f}')
        for name, value in rows.items()
    )
    return table if is_mean else f'{table}\n  no mean: {n_classes} class occurs in these data'
