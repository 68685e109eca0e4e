"""``seg_ros train``: from a recipe to a model file.

Many processes: ``torchrun --nproc-per-node=2 -m seg_ros.cli train ...``.
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
from seg_ros.errors import RecipeError
from seg_ros.resources import find_file
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
    parser.add_argument('recipe', help='recipe file, or the name of a shipped one, such as squares')
    parser.add_argument('--data', type=Path, metavar='DIR', help='root of the data set')
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='FOLDER',
        help='folder of the run (default: runs/NAME); a run that was stopped there goes on',
    )
    parser.add_argument(
        '--device', choices=('auto', 'cpu', 'cuda'), default='auto', help='default: %(default)s'
    )
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads (default: all cores)')
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='change the recipe, such as epochs=5 or augment.flip=0; may be repeated',
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
                f'\nstopped; the same command goes on from the last full epoch in {folder}', file=sys.stderr
            )
        return 130
    finally:
        leave()
    return 0


def find_recipe(name: str, kind: str = 'train') -> Path:
    """The file behind a path or the name of a shipped recipe, of ``config/<kind>/``.

    Raises:
        UnknownNameError: there is no shipped recipe of that name.
    """
    return find_file(name, f'config/{kind}', ('.yaml', '.yml'), 'recipe')


def commit_of(path: Path) -> str | None:
    """The commit of the repository that a file lies in, ``-dirty`` after local changes; None without."""
    words = ['git', '-C', str(path.parent), 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        found = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def _set_threads(wanted: int | None) -> None:
    """``wanted`` threads, or this process's share of the cores it may use."""
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
    """IoU of each class, then the averages."""
    rows = {
        **figures['class_iou'],
        'mean IoU': figures['mean_iou'],
        'class average': figures['class_average'],
    }
    width = max(map(len, rows))
    return '\n'.join(
        f'  {name:{width}}  ' + ('    -' if value is None else f'{100 * value:6.2f}')
        for name, value in rows.items()
    )
