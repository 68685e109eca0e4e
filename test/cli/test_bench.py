import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from seg_ros.cli.main import main

SHORT = ['--quick', '--threads', '1', '--sizes', '0.2', '1']


@pytest.fixture(scope='module')
def measured(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the outputs of one run."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('matplotlib')
    folder = tmp_path_factory.mktemp('bench')
    outputs = [
        *('--json', str(folder / 'out/bench.json'), '--plot', str(folder / 'bench.png')),
        *('--markdown', str(folder / 'bench.md'), '--backend', 'onnxruntime'),
    ]
    words = [sys.executable, '-m', 'seg_ros.cli', 'bench', str(model_file), *SHORT, *outputs]
    environment = {**os.environ, 'XDG_CACHE_HOME': str(folder / 'cache')}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (folder / 'text').write_text(done.stdout)
    return folder


@pytest.fixture(scope='module')
def report(measured: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((measured / 'out/bench.json').read_text())
    return content


def quotients(row: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    return {name: other['total_ms'][name] / row['total_ms'][name] for name in ('shortest', 'median')}


def test_ratios_are_quotients_of_the_times(report: dict[str, Any]) -> None:
    rows = {row['name'].rpartition(', ')[2]: row for row in report['networks']}
    assert {'torch', 'onnxruntime', 'eager PyTorch', 'ONNX Runtime defaults'} <= set(rows)
    (enet,) = (row for row in rows.values() if row['kind'] == 'enet')
    (default,) = (row for row in rows.values() if row['kind'] == 'onnxruntime_defaults')
    for row in rows.values():
        assert row['times_faster_than_enet'] == pytest.approx(quotients(row, enet))
        assert row['times_faster_than_default_onnxruntime'] == pytest.approx(quotients(row, default))
        for name in ('total_ms', 'network_ms'):
            assert 0 < row[name]['shortest'] <= row[name]['median']
            assert row[name]['spread'] == pytest.approx(row[name]['median'] / row[name]['shortest'] - 1)
            assert row[name]['n'] == 4
        assert row['network_ms']['shortest'] <= row['total_ms']['shortest']
        assert row['network_gflops'] == pytest.approx(2 * row['n_macs'] / 1e6 / row['network_ms']['shortest'])
        (rate,) = report['rates']
        assert row['matrix_fraction'] == pytest.approx(
            row['network_gflops'] / rate['matrix_gflops']['highest']
        )
        assert rate['copy_gb_per_s']['highest'] >= rate['copy_gb_per_s']['median'] > 0
    assert enet['n_macs'] / default['n_macs'] == 480 * 360 / (128 * 96)  # the model is an ENet too
    assert rows['torch']['n_macs'] == default['n_macs']


def test_compared_backends_give_the_same_labels(report: dict[str, Any]) -> None:
    for row in report['networks']:
        if row['kind'] == 'enet':
            assert row['agreement'] is None
        else:
            assert row['agreement'] > 0.99


def test_steps_scaling_and_starts(report: dict[str, Any]) -> None:
    assert [row['name'] for row in report['steps']] == ['labels', 'labels, confidence']
    for row in report['steps']:
        assert row['backend'] == 'onnxruntime'
        parts = sum(row[name]['shortest'] for name in ('resize_ms', 'network_ms', 'argmax_ms'))
        assert 0 < parts <= 1.001 * row['total_ms']['median']
    (size,) = report['sizes']
    assert size['input_size'] == [96, 128]
    assert 'expected 32 or more' in report['left_out']['sizes, 26x19']
    assert [row['value'] for row in report['threads']] == [1]
    assert [row['value'] for row in report['cameras']] == [1, 2]
    for row in report['cameras']:
        assert row['frames_per_s'] == pytest.approx(1e3 * row['value'] / row['total_ms']['median'])
        assert row['frames_per_s_of_each_camera'] == pytest.approx(row['frames_per_s'] / row['value'])
    kept, plain = report['starts']
    assert (kept['name'], kept['backend'], kept['has_torch']) == ('kept graphs', 'onnxruntime', False)
    assert (plain['name'], plain['backend'], plain['has_torch']) == ('plain ENet', 'torch', True)
    for row in (kept, plain):
        assert 0 < row['import_s'] + row['load_s'] < row['first_labels_s']
        assert 20 < row['memory_mb'] < 5000


def test_conditions_are_recorded(report: dict[str, Any], model_file: Path) -> None:
    assert report['model']['path'] == str(model_file)
    assert report['model']['quantization'] == 'fp32'
    assert report['machine']['cores']
    assert report['machine']['torch']
    assert report['date'].startswith('20')
    assert report['options']['threads'] == [1]
    assert any('torch_compile' in name for name in report['left_out'])


def test_tables_and_plot(measured: Path, report: dict[str, Any]) -> None:
    text, page = (measured / 'text').read_text(), (measured / 'bench.md').read_text()
    for row in report['networks']:
        assert row['name'] in text
        assert f'| {row["name"]} | 1 | fp32 |' in page
        assert f'{row["total_ms"]["shortest"]:.2f} / {row["total_ms"]["median"]:.2f}' in text
    assert 'left out: sizes, 26x19' in text
    picture = cv2.imread(str(measured / 'bench.png'))
    assert picture is not None
    assert min(picture.shape[:2]) > 500
    assert picture.std() > 10


def test_an_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ('no_such_model', str(tmp_path / 'missing.safetensors')):
        assert main(['bench', name, *SHORT]) == 2
        message = capsys.readouterr().err
        assert message.startswith('seg_ros: ')
        assert Path(name).stem in message
        assert message.count('\n') == 1


@pytest.mark.parametrize(
    ('words', 'part'),
    [
        (['--threads', '0'], '--threads'),
        (['--threads', '100000'], '--threads'),
        (['--sizes', '0'], '--sizes'),
        (['--plot', 'figure.txt'], 'figure.txt'),
        (['--device', 'cuda:77'], 'cuda:77'),
    ],
)
def test_wrong_options_are_refused_at_once(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['bench', '--quick', *words]) == 1
    assert part in capsys.readouterr().err
