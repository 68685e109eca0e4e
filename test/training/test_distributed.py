import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from seg_ros.errors import RecipeError, UnavailableError
from seg_ros.training.distributed import Processes, join
from seg_ros.training.recipe import Recipe
from seg_ros.training.run_state import STATE_FILE, read_state
from seg_ros.training.setup import set_up

SCRIPT = Path(__file__).with_name('two_processes.py')
TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']


def run(*words: str | Path) -> str:
    """What a command prints; one that hangs is ended with all its processes, each telling where it is."""
    name, number = 'SEG_ROS_TEST', str(os.getpid())
    env = {**os.environ, 'PYTHONFAULTHANDLER': '1', name: number}
    process = subprocess.Popen(
        [*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        printed, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        for environment in Path('/proc').glob('[0-9]*/environ'):
            with contextlib.suppress(OSError):
                if f'{name}={number}'.encode() in environment.read_bytes().split(b'\0'):
                    os.kill(int(environment.parent.name), signal.SIGABRT)
        pytest.fail(f'{words} hangs:\n{process.communicate()[1]}')
    assert process.returncode == 0, errors[-3000:]
    return printed


def write(content: dict[str, Any], folder: Path) -> Path:
    folder.mkdir()
    (folder / 'recipe.yaml').write_text(yaml.safe_dump(content | {'workers': 0}))
    return folder


def losses(folder: Path) -> list[float]:
    return [row['loss'] for row in read_state(folder / STATE_FILE)[0]['progress']['rows']]


@pytest.fixture(scope='module')
def folders(tiny_recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain network trained by one process and by two, and an ENet by two."""
    # Without zoom there is no void: each process's mean is over as many pixels as the other's.
    plain = tiny_recipe | {'model': 'plain', 'augment': {'crop': [32, 40], 'flip': 0.5}}
    top = tmp_path_factory.mktemp('runs')
    made = {
        'one': write(plain, top / 'one'),
        'two': write(plain, top / 'two'),
        'enet': write(tiny_recipe | {'epochs': 4}, top / 'enet'),
    }
    run(sys.executable, SCRIPT, made['one'])
    run(*TORCHRUN, SCRIPT, made['two'], made['enet'])
    return made


def test_two_processes_train_what_one_does(folders: dict[str, Path]) -> None:
    expected, weights = load_file(folders['one'] / '0.weights'), load_file(folders['two'] / '0.weights')
    for key, value in expected.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-6)
    assert losses(folders['two']) == pytest.approx(losses(folders['one']), rel=1e-5)


def test_processes_of_a_normalised_network_stay_equal(folders: dict[str, Path]) -> None:
    folder = folders['enet']
    weights = [load_file(folder / f'{rank}.weights') for rank in range(2)]
    # Statistics of batch normalisation are each process's own until the next step begins.
    learned = [key for key in weights[0] if 'running_' not in key]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in learned)
    assert losses(folder)[-1] < losses(folder)[0]
    assert (folder / '0.figures').read_text() == (folder / '1.figures').read_text() != '{}'


def test_torchrun_runs_the_command(tiny_file: Path, tmp_path: Path) -> None:
    words = [
        *TORCHRUN,
        '-m',
        'seg_ros.cli',
        'train',
        tiny_file,
        '-o',
        tmp_path / 'run',
        '--device',
        'cpu',
    ]
    printed = run(*words, '--threads', '1', '--set', 'epochs=1')
    assert printed.count('mean IoU') == 1
    assert 'squares validation' in json.loads((tmp_path / 'run' / 'results.json').read_text())


def test_what_processes_cannot_share_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match='batch_size is 4; expected a multiple of 3'):
        set_up(Recipe.from_yaml(tiny_file), None, tmp_path, Processes(0, 3, torch.device('cpu')))


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert join('auto') == Processes(0, 1, torch.device('cpu'))
    with pytest.raises(UnavailableError, match='available: cpu'):
        join('cuda')
