"""Figures on images that a model has learnt say so: in words, on the page and in JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seg_ros.cli.main import main
from seg_ros.evaluation.learnt import LEARNT, LEARNT_A_FOLDER, LEARNT_PARTS, MeasuredSplit
from seg_ros.modelfile.description import open_model
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.shipped import SHIPPED
from seg_ros.training.export import export_model

STREET = '{n_drives: 1, n_frames: 1, height: 96, width: 128}'


def by(training: dict[str, Any], split: MeasuredSplit) -> str:
    return split.learnt_by(replace(open_model('lite_camvid').metadata, training=training))


def source(dataset: str, split: str, **options: object) -> dict[str, object]:
    return {'dataset': dataset, 'split': split, 'root': '.', 'options': options}


def test_shipped_models_with_classes_have_learnt_val() -> None:
    for name in set(SHIPPED) - {'segments'}:
        metadata = open_model(name).metadata
        assert MeasuredSplit('camvid', 'val').learnt_by(metadata) == LEARNT, name
        assert not MeasuredSplit('camvid', 'test').learnt_by(metadata)
        assert not MeasuredSplit('rendered', 'test').learnt_by(metadata)


def test_a_recipe_tells_more_than_the_summary() -> None:
    left_out = source('camvid', 'val', exclude=['0016E5_*'])
    training = {'data': '1 x camvid val (90 images)', 'recipe': {'train': [left_out]}}
    assert by(training, MeasuredSplit('camvid', 'val')) == LEARNT_PARTS
    assert by(training, MeasuredSplit('camvid', 'val', {'include': ['0016E5_*']})) == LEARNT_PARTS
    assert by(training, MeasuredSplit('camvid', 'val', {'exclude': ['0016E5_*']})) == LEARNT
    assert (
        by({'recipe': {'train': [source('folder', 'val')]}}, MeasuredSplit('folder', 'val'))
        == LEARNT_A_FOLDER
    )


def test_a_summary_alone_is_read() -> None:
    training = {'data': '1 x camvid train (367 images) + 2 x idd_lite val (40 images)'}
    assert by(training, MeasuredSplit('idd_lite', 'val')) == LEARNT
    assert by(training, MeasuredSplit('camvid', 'train')) == LEARNT
    assert not by(training, MeasuredSplit('camvid', 'val'))
    assert by({'data': 'camvid val (101 images)'}, MeasuredSplit('camvid', 'val')) == LEARNT


@pytest.mark.parametrize(
    'training',
    [
        {},
        {'data': 3},
        {'data': 'unknown'},
        {'recipe': 'x'},
        {'recipe': {'train': ['camvid', {}, {'split': []}]}},
    ],
)
def test_any_record_is_taken(training: dict[str, Any]) -> None:
    assert not by(training, MeasuredSplit('camvid', 'val'))


def test_both_commands_say_so(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('matplotlib')
    model, known = load_model(model_file), tmp_path / 'known.safetensors'
    training = {'data': '1 x rendered val (600 images)', 'recipe': {'train': [source('rendered', 'val')]}}
    export_model(known, model.network, replace(model.metadata, training=training))
    out = {kind: tmp_path / f'report.{kind}' for kind in ('json', 'html')}
    options = ['--backend', 'torch', '--device', 'cpu', '--n-threads', '1']

    words = ['evaluate', 'rendered', '--split', 'val', '--options', STREET, '--model', str(known)]
    assert main([*words, *options, '--json', str(out['json'])]) == 0
    assert capsys.readouterr().out.endswith(f'\nknown {LEARNT_PARTS}\n')
    assert json.loads(out['json'].read_text())['learnt'] == LEARNT_PARTS

    words[-1] = str(model_file)
    assert main([*words, *options, '--json', str(out['json'])]) == 0
    assert 'learnt' not in capsys.readouterr().out
    assert json.loads(out['json'].read_text())['learnt'] is None

    words = [
        'compare',
        str(model_file),
        str(known),
        '--dataset',
        'rendered',
        '--split',
        'val',
        '--limit',
        '1',
    ]
    words += [*options, '--rounds', '1']
    assert main([*words, *(word for kind, path in out.items() for word in (f'--{kind}', str(path)))]) == 0
    assert f'\nknown {LEARNT}\n' in capsys.readouterr().out
    assert [row['learnt'] for row in json.loads(out['json'].read_text())['models']] == [None, LEARNT]
    assert f'known {LEARNT}</p>' in out['html'].read_text()
