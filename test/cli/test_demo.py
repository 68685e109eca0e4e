import json
from pathlib import Path

import numpy as np
import pytest

from seg_ros.bags.reader import BagReader
from seg_ros.cli.demo import IMAGES, SEED, TRUTH, render_drive
from seg_ros.cli.main import main
from seg_ros.synthetic import RenderedDrive


def test_the_drive_is_rendered_once_and_exactly(tmp_path: Path) -> None:
    path = render_drive(tmp_path, 2)
    written = path.stat().st_mtime_ns
    assert render_drive(tmp_path, 2) == path
    assert path.stat().st_mtime_ns == written
    drive = RenderedDrive(SEED, 2, 360, 480)
    with BagReader(path) as bag:
        for index, (image, truth) in enumerate(zip(bag.messages(IMAGES), bag.messages(TRUTH), strict=True)):
            np.testing.assert_array_equal(image.decode().data.reshape(360, 480, 3), drive[index][0])
            np.testing.assert_array_equal(truth.decode().data.reshape(360, 480), drive[index][1])
            assert image.stamp_ns == truth.stamp_ns == 1_000_000_000 + index * 100_000_000


def test_a_missing_model_is_told_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['demo', '-o', str(tmp_path / 'demo'), '--model', str(tmp_path / 'missing.safetensors')]
    assert main(command) == 1
    assert 'the demo needs the model' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_main_job(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rclpy')
    figures = tmp_path / 'figures.json'
    model = ['--model', str(model_file), '--backend', 'torch', '--device', 'cpu', '--timeout', '60']
    assert (
        main(['demo', '-o', str(tmp_path / 'new/demo'), '--n-frames', '3', '--json', str(figures), *model])
        == 0
    )
    told = capsys.readouterr().out
    report = json.loads(figures.read_text())
    assert (report['frames_in'], report['frames_out']) == (3, 3)
    assert 0 < report['mean_iou'] < 1
    assert f'mean IoU       {100 * report["mean_iou"]:.1f} %' in told
    sheet = Path(told.splitlines()[-1].partition('contact sheet')[2].strip())
    assert sheet.is_file()
