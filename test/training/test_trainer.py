import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from seg_ros.cli.main import main
from seg_ros.cli.options import find_recipe
from seg_ros.cli.train import commit_of
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import DatasetError, ModelFileError, RecipeError, UnknownNameError
from seg_ros.metrics.labels import confusion_matrix, mean_iou
from seg_ros.modelfile.file import load_model
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.registry import MODELS
from seg_ros.training.distributed import Processes
from seg_ros.training.golden_record import label_image
from seg_ros.training.recipe import Recipe, Source
from seg_ros.training.run_state import BEST_FILE, LAST_FILE, STATE_FILE, read_state
from seg_ros.training.setup import set_up
from seg_ros.training.sources import open_source
from seg_ros.training.trainer import Trainer

ALONE = Processes(0, 1, torch.device('cpu'))
COMMAND = [sys.executable, '-m', 'seg_ros.cli', 'train', '--device', 'cpu', '--threads', '1']


def make_trainer(content: dict[str, Any], folder: Path) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'recipe.yaml').write_text(yaml.safe_dump(content))
    return Trainer(set_up(Recipe.from_yaml(folder / 'recipe.yaml'), None, folder, ALONE))


def test_a_run_leaves_what_it_promises(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'run'
    test = 'test={dataset: squares, split: test, options: {n_images: 2}}'
    words = ['train', str(tiny_file), '-o', str(folder), '--threads', '1', '--set', test, '--set', 'epochs=2']
    assert main([*words, '--set', 'licence=CC0-1.0', '--set', 'workers=0']) == 0

    best = load_model(folder / BEST_FILE)
    metadata, rows = best.metadata, list(csv.DictReader((folder / 'curves.csv').read_text().splitlines()))
    assert (metadata.licence, metadata.figures['dataset'], metadata.figures['split']) == (
        'CC0-1.0',
        'squares',
        'validation',
    )
    assert metadata.training['data'] == '1 x squares train (10 images)'
    assert metadata.training['recipe']['epochs'] == 2
    assert metadata.figures['mean_iou'] == pytest.approx(max(float(row['mean_iou']) for row in rows))
    assert load_model(folder / LAST_FILE).metadata.training['epoch'] == 2
    assert cv2.imread(str(folder / 'curves.png')).shape[2] == 3

    # The figures of the report are those of the file, run the plain way.
    network, dataset = (
        ImageNetwork(best.network, metadata.normalisation),
        DATASETS['squares'](None, 'test', n_images=2),
    )
    matrix = sum(
        confusion_matrix(truth, label_image(network, image, metadata.input_size), 2)
        for image, truth in (dataset[0], dataset[1])
    )
    results = json.loads((folder / 'results.json').read_text())
    assert results['squares test']['mean_iou'] == pytest.approx(mean_iou(matrix))
    printed = capsys.readouterr()
    assert 'square  ' in printed.out
    assert str(folder / BEST_FILE) in printed.out
    assert 'step/s' in printed.err or 's/step' in printed.err


def test_a_killed_run_goes_on_to_the_same_bytes(tiny_file: Path, tmp_path: Path) -> None:
    def start(name: str) -> 'subprocess.Popen[bytes]':
        words = [*COMMAND, str(tiny_file), '-o', str(tmp_path / name), '--set', 'epochs=2']
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    killed = start('killed')
    state = tmp_path / 'killed' / STATE_FILE
    while not state.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert read_state(state)[0]['progress']['epoch'] == 1
    for name in ('killed', 'unbroken'):
        assert start(name).wait(120) == 0
    for name in (BEST_FILE, LAST_FILE):
        assert (tmp_path / 'killed' / name).read_bytes() == (tmp_path / 'unbroken' / name).read_bytes()
    states = [read_state(tmp_path / run / STATE_FILE)[1] for run in ('killed', 'unbroken')]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_control_c_leaves_a_message_and_a_state(tiny_file: Path, tmp_path: Path) -> None:
    words = [*COMMAND, str(tiny_file), '-o', str(tmp_path / 'run'), '--set', 'epochs=500']
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / 'run' / STATE_FILE).exists():
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert f'in {tmp_path / "run"}' in errors
    assert 'Traceback' not in errors
    assert read_state(tmp_path / 'run' / STATE_FILE)[0]['progress']['epoch'] >= 1


def test_it_stops_when_validation_brings_no_gain(tiny: dict[str, Any], tmp_path: Path) -> None:
    # Nothing is learned, so that only the first validation is a gain.
    trainer = make_trainer(
        tiny | {'learning_rate': 1e-12, 'epochs': 9, 'stop_after': 2, 'workers': 0, 'ema': 0.0}, tmp_path
    )
    for module in trainer.setup.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    trainer.run()
    assert (trainer.progress.epoch, trainer.has_converged) == (3, True)


def test_the_loss_falls_and_a_changed_recipe_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {'workers': 0, 'epochs': 4}
    trainer = make_trainer(tiny, tmp_path)
    trainer.run()
    losses = [row['loss'] for row in trainer.progress.rows]
    assert losses[-1] < 0.9 * losses[0]
    with pytest.raises(RecipeError, match='epochs, seed differ'):
        make_trainer(tiny | {'seed': 5, 'epochs': 9}, tmp_path)
    (tmp_path / STATE_FILE).write_bytes(b'\x08' + bytes(20))
    with pytest.raises(RecipeError, match='remove it to start anew'):
        make_trainer(tiny, tmp_path)


def test_init_and_teacher_are_used(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny |= {'workers': 0, 'epochs': 1}
    parent = make_trainer(tiny, tmp_path / 'parent')
    parent.run()
    file = tmp_path / 'parent' / LAST_FILE
    taught = make_trainer(tiny | {'init': str(file), 'teacher': {'model': str(file)}}, tmp_path / 'child')
    learned = load_model(file)
    for key, value in learned.network.state_dict().items():
        torch.testing.assert_close(taught.setup.network.network.state_dict()[key], value)
    assert taught.setup.metadata.parent is not None
    assert taught.setup.metadata.parent['digest'] == learned.digest
    assert taught.setup.metadata.training['recipe']['init'] == LAST_FILE
    taught.run()
    with pytest.raises(RecipeError, match=r'no encoder .*; with one: efficientnet_lite_pyramid, fcn, '):
        make_trainer(tiny | {'encoder_weights': str(file)}, tmp_path / 'other')
    pyramid = tiny | {'model': 'squeezenet_pyramid', 'init': str(file)}
    with pytest.raises(RecipeError, match=r'init: .* is a enet'):
        make_trainer(pyramid, tmp_path / 'other')
    monkeypatch.chdir(tmp_path)
    make_trainer(tiny | {'init': f'parent/{LAST_FILE}'}, tmp_path / 'other')
    with pytest.raises(ModelFileError, match=r'nowhere\.safetensors'):
        make_trainer(tiny | {'init': 'nowhere.safetensors'}, tmp_path / 'other')


def test_groups_of_classes_and_several_teachers_are_learnt_from(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {'workers': 0, 'epochs': 1}
    make_trainer(tiny, tmp_path / 'parent').run()
    file = str(tmp_path / 'parent' / LAST_FILE)
    same = {'background': 'background', 'square': 'square'}
    either = {'classes': 'squares', 'names': {'square': ['background', 'square']}}
    teachers = [{'model': file}, {'model': file, 'share': 2, 'scale': 0.5, 'names': same}]
    tiny['train'] += [{'dataset': 'squares', 'options': {'n_images': 2}, 'relabel': either}]
    tiny['teacher'] = {'model': teachers, 'restricted': True}
    trainer = make_trainer(tiny, tmp_path / 'child')
    labels = {int(v) for part in trainer.setup.data.train for v in np.unique(part[0][1])}
    assert labels == {0, 1, 2, 255}
    trainer.run()
    recipe = load_model(tmp_path / 'child' / LAST_FILE).metadata.training['recipe']
    assert [network['model'] for network in recipe['teacher']['model']] == [LAST_FILE, LAST_FILE]
    with pytest.raises(RecipeError, match=r'validation\.relabel'):
        make_trainer(tiny | {'validation': tiny['train'][-1]}, tmp_path / 'other')


def test_a_loss_that_is_not_finite_ends_the_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    trainer = make_trainer(tiny | {'workers': 0}, tmp_path)
    with torch.no_grad():
        next(trainer.setup.network.parameters()).fill_(math.nan)
    with pytest.raises(RecipeError, match='learning_rate: the loss is nan'):
        trainer.run()


def test_sources_that_do_not_open_say_why(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='does not take options'):
        open_source(Source('squares', options={'colour': 'red'}), None)
    with pytest.raises(DatasetError, match='--data'):
        open_source(Source('camvid'), None)
    with pytest.raises(UnknownNameError, match='camvid, cityscapes, folder'):
        open_source(Source('kitti'), None)


def test_recipes_are_found_by_name_and_path() -> None:
    assert find_recipe('squares').name == 'squares.yaml'
    assert find_recipe('a/squares') == Path('a/squares')
    with pytest.raises(UnknownNameError, match='enet_camvid'):
        find_recipe('triangles')


def test_the_commit_is_that_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / 'r.yaml'
    path.write_text('model: enet\n')
    ceiling = {'GIT_CEILING_DIRECTORIES': str(tmp_path.parent)}
    os.environ |= ceiling
    assert commit_of(path) is None
    git = ['git', '-C', str(tmp_path), '-c', 'user.name=a', '-c', 'user.email=a@b']
    for words in (['init', '-q'], ['add', 'r.yaml'], ['commit', '-qm', 'Add recipe']):
        subprocess.run([*git, *words], check=True, capture_output=True)
    head = subprocess.run(
        [*git, 'rev-parse', 'HEAD'], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert commit_of(path) == head
    path.write_text('model: other\n')
    assert commit_of(path) == f'{head}-dirty'


def test_every_model_takes_a_step(tiny: dict[str, Any], tmp_path: Path) -> None:
    for name in MODELS:
        trainer = make_trainer(tiny | {'model': name, 'workers': 0, 'precision': 'bf16'}, tmp_path / name)
        assert math.isfinite(trainer._train_epoch(0))
