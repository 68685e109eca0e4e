"""The command, from its words to its files and exit codes."""

import dataclasses
import json
import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bag_evaluation.results import json_schema
from seg_ros.bags.writer import BagWriter
from seg_ros.cli.main import main
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 10, 90, 120)
SECOND = 1_000_000_000
SCHEMA = Path(__file__).parents[2] / 'docs/results.schema.json'


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images at 10 Hz, without labels."""
    path = tmp_path_factory.mktemp('bags') / 'drive.mcap'
    with BagWriter(path) as writer:
        for index in range(len(DRIVE)):
            writer.write_image('/camera/image_raw', DRIVE[index][0], SECOND + index * SECOND // 10)
    return path


@pytest.fixture(scope='module')
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """True labels of the frames 0, 3 and 5, named in three ways."""
    folder = tmp_path_factory.mktemp('labels')
    for index, name in ((0, '000000'), (3, str(SECOND + 3 * SECOND // 10)), (5, 'drive_0000000001500')):
        cv2.imwrite(str(folder / f'{name}.png'), DRIVE[index][1])
    return folder


def run(bag: Path, model: Path, output: Path, *more: object) -> int:
    words = ['evaluate-bag', str(bag), '--models', str(model), '--backend', 'torch', '--device', 'cpu']
    return main([*words, '--n-threads', '1', '-o', str(output), *map(str, more)])


def test_labels_limits_baseline_and_selection(
    bag: Path, labels: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, junit = tmp_path / 'first', tmp_path / 'junit.xml'
    limits = ['--fail-below', 'mean_iou=0.01', 'accuracy.class_iou.road=0.99999', '--junit', junit]
    assert run(bag, model_file, first, '--labels', labels, *limits, '--select', 3) == 2
    results = json.loads((first / 'results.json').read_text())
    assert results['bags'][0]['n_labelled'] == 3
    assert [entry['passed'] for entry in results['thresholds']] == [True, False]
    assert ElementTree.parse(junit).getroot().attrib['failures'] == '1'
    assert (first / 'report.html').stat().st_size > 10_000
    assert (first / 'annotated.mcap').is_file()
    chosen = sorted((first / 'to_label/images').glob('*.png'))
    assert len(chosen) == 3
    assert all(path.name.startswith('drive_') for path in chosen)
    assert 'FAILED' in capsys.readouterr().out
    second = tmp_path / 'second'
    assert run(bag, model_file, second, '--baseline', first / 'results.json', '--no-annotate') == 0
    again = json.loads((second / 'results.json').read_text())
    assert again['systems'][0]['accuracy'] is None
    (flicker,) = again['baseline']['comparisons']
    assert flicker['metric'] == 'flicker_compensated'
    assert flicker['difference']['value'] == 0
    assert not (second / 'annotated.mcap').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--fail-below', 'mean_iou'], 'mean_iou'),
        (['--fail-below', 'beauty=1'], 'beauty'),
        (['--labels', 'nowhere'], 'nowhere'),
        (['--labels-topic', '/nothing'], '/nothing'),
        (['--topic', '/nothing'], '/nothing'),
        (['--baseline', 'nothing.json'], 'nothing.json'),
        (['--levels', 'int3'], 'int3'),
        (['--workers', '1', '--scheduler', 'tcp://here'], '--scheduler'),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: list[str],
    message: str,
    bag: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(bag, model_file, tmp_path, '--no-annotate', *words) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('seg_ros: ')
    assert message in error


def test_labels_of_another_size_are_reported(bag: Path, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'labels'
    folder.mkdir()
    cv2.imwrite(str(folder / '0.png'), np.zeros((20, 30), np.uint8))
    cv2.imwrite(str(folder / '1.png'), np.full((90, 120), 77, np.uint8))
    assert run(bag, model_file, tmp_path / 'out', '--labels', folder, '--no-annotate') == 0
    results = json.loads((tmp_path / 'out/results.json').read_text())
    reasons = [loss['reason'] for loss in results['bags'][0]['losses']]
    assert '30x20' in reasons[0]
    assert '77' in reasons[1]
    assert results['bags'][0]['n_labelled'] == 0


def test_labels_of_other_classes_are_refused(
    bag: Path, labels: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'labels'
    shutil.copytree(labels, folder)
    (folder / 'classes.yaml').write_text('classes:\n  - {id: 0, name: lawn, colour: [1, 2, 3]}\n')
    assert run(bag, model_file, tmp_path / 'out', '--labels', folder) == 1
    assert 'lawn' in capsys.readouterr().err


def test_the_schema_in_the_documents_is_that_of_the_results() -> None:
    if not SCHEMA.exists():
        pytest.skip('an installed package has no pages')
    assert json.loads(SCHEMA.read_text()) == json_schema()


def test_a_model_that_cannot_be_loaded_stops_no_other(
    bag: Path, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one fails, so that the reference has to be another one."""
    model, wrong = load_model(model_file), tmp_path / 'wrong.safetensors'
    golden = dataclasses.replace(model.golden, labels=(model.golden.labels + 1) % 11)
    save_model(wrong, model.network, model.metadata, golden)
    words = ['evaluate-bag', str(bag), '--models', str(wrong), str(model_file), 'enet_camvid']
    words += ['--backend', 'torch', '--device', 'cpu', '--no-annotate', '-o', str(tmp_path)]
    assert main(words) == 1
    results = json.loads((tmp_path / 'results.json').read_text())
    assert [system['name'] for system in results['systems']] == ['tiny fp32', 'enet_camvid fp32']
    assert results['systems'][1]['agreement']['reference'] == 'tiny fp32'
    assert results['failures'][0]['system'] == 'wrong fp32'
    assert 'failed: wrong fp32' in capsys.readouterr().out
    assert results['command'][:2] == ['seg_ros', 'evaluate-bag']


def test_a_live_evaluation_adds_ages_and_drops(bag: Path, model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip('rclpy')
    assert run(bag, model_file, tmp_path, '--no-annotate', '--live') == 0
    live = json.loads((tmp_path / 'results.json').read_text())['systems'][0]['live']
    assert live['frames_in'] == 10
    assert live['frames_in'] == live['frames_out'] + sum(live['drops'].values())
    assert live['frames_out'] == 0 or live['age_ms']['max'] >= live['age_ms']['p50'] > 0
    assert live['peak_memory_mb'] > 50


def test_names_of_other_bytes_than_utf_8(bag: Path, labels: Path, model_file: Path, tmp_path: Path) -> None:
    """A name in Latin 1, as old archives have it."""
    folder, model = (tmp_path / os.fsdecode(name) for name in (b'stra\xdfe', b'klein\xe4.safetensors'))
    try:
        folder.mkdir()
        shutil.copy(bag, folder / os.fsdecode(b'gr\xfcn.mcap'))
    except OSError:
        pytest.skip('this file system has no such names')
    shutil.copy(model_file, model)
    own = folder / 'labels'
    shutil.copytree(labels, own)
    output = tmp_path / 'out'
    path = folder / os.fsdecode(b'gr\xfcn.mcap')
    words = ['--labels', own, '--select', 2, '--junit', output / 'junit.xml', '--fail-below', 'mean_iou=0']
    assert run(path, model, output, *words) == 0
    results = json.loads((output / 'results.json').read_bytes().decode('utf-8'))
    assert results['bags'][0]['name'] == r'gr\xfcn'
    assert results['bags'][0]['path'] == str(tmp_path) + r'/stra\xdfe/gr\xfcn.mcap'
    assert results['bags'][0]['n_labelled'] == 2
    assert results['systems'][0]['name'].startswith(r'klein\xe4')
    assert r'gr\xfcn' in (output / 'report.html').read_text(encoding='utf-8')
    chosen = {file.name for file in (output / 'to_label/images').iterdir()}
    listed = (output / 'to_label/selection.csv').read_bytes().splitlines()[1:]
    assert {os.fsdecode(line.split(b',')[0]) + '.png' for line in listed} == chosen
