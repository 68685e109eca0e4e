import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.drawing.overlay import Overlay
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive

DRIVE = RenderedDrive(4, 3, 60, 80)


@pytest.fixture(scope='module')
def segmenter(model_file: Path) -> Segmenter:
    return Segmenter.load(Settings(model=str(model_file), backend='torch', device='cpu'))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, one of them deeper."""
    for index, name in enumerate(('a.png', 'b.png', 'deep/a.png')):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(DRIVE[index][0], cv2.COLOR_RGB2BGR))
    return tmp_path / 'in'


def segment(model_file: Path, *words: object) -> int:
    return main(
        ['segment', *map(str, words), '--model', str(model_file), '--backend', 'torch', '--device', 'cpu']
    )


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_a_folder_gives_what_the_pipeline_gives(model_file: Path, segmenter: Segmenter, folder: Path) -> None:
    output = folder.parent / 'out'
    words = ['--labels', '--confidence', '--overlay', '--opacity', '0.3', '--json', output / 'figures.json']
    assert segment(model_file, folder, '-o', output, *words) == 0
    for index, name in enumerate(('a', 'b', 'deep/a')):
        image = DRIVE[index][0]
        prediction = segmenter(image, confidence=True)
        np.testing.assert_array_equal(read(output / f'{name}_labels.png'), prediction.labels)
        np.testing.assert_array_equal(read(output / f'{name}_confidence.png'), prediction.confidence)
        overlay = Overlay(segmenter.classes)(image, prediction.labels, opacity=0.3, legend=True)
        np.testing.assert_array_equal(read(output / f'{name}_overlay.png')[..., ::-1], overlay)
    figures = json.loads((output / 'figures.json').read_text())
    assert figures['n_images'] == 3
    assert sum(figures['class_shares'].values()) == pytest.approx(1)
    assert figures['latency_ms'].keys() == {'p50', 'p90', 'p99', 'max'}


def test_a_video_becomes_a_video_and_folders(
    model_file: Path, segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = cv2.VideoWriter(str(tmp_path / 'drive.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 12, (80, 60))
    for index in range(3):
        video.write(cv2.cvtColor(DRIVE[index][0], cv2.COLOR_RGB2BGR))
    video.release()
    assert segment(model_file, tmp_path / 'drive.avi', '-o', tmp_path / 'out') == 0
    assert 'frames         3' in capsys.readouterr().out
    decoded = cv2.VideoCapture(str(tmp_path / 'drive.avi'))
    for index in range(3):
        image = cv2.cvtColor(decoded.read()[1], cv2.COLOR_BGR2RGB)
        labels = read(tmp_path / f'out/drive_labels/{index:06}.png')
        np.testing.assert_array_equal(labels, segmenter(image).labels)
    result = cv2.VideoCapture(str(tmp_path / 'out/drive_overlay.mp4'))
    assert result.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert result.get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert result.read()[1].shape == (60, 80, 3)


def test_bad_files_are_skipped_and_told(
    model_file: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / 'c.png').write_bytes(b'no image')
    (folder / 'd.mp4').write_bytes(b'no video')
    output = folder.parent / 'out'
    assert segment(model_file, folder, folder / 'missing.png', folder / 'deep/a.png', '-o', output) == 1
    told = capsys.readouterr()
    for words in (
        'c.png is not an',
        'd.mp4 is missing or is not a',
        'missing.png does not exist',
        'both become',
    ):
        assert words in told.err
    assert 'frames         3' in told.out
    assert 'bad files      4 of 7' in told.out
    assert {p.name for p in output.rglob('*_labels.png')} == {'a_labels.png', 'b_labels.png'}


def test_results_of_an_earlier_run_are_no_input(model_file: Path, folder: Path) -> None:
    assert segment(model_file, folder, '-o', folder / 'out') == 0
    assert segment(model_file, folder, '-o', folder / 'out') == 0
    assert len(list(folder.rglob('*_overlay.png'))) == 3


def test_pixels_below_the_threshold_are_unlabelled(model_file: Path, folder: Path) -> None:
    output = folder.parent / 'out'
    assert segment(model_file, folder, '-o', output, '--labels', '--confidence-threshold', '1.0') == 0
    assert (read(output / 'a_labels.png') == 255).mean() > 0.5
    assert not list(output.rglob('*_overlay.png'))


def test_an_empty_folder_is_an_error(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/._a.png').write_bytes(b'junk')
    assert segment(model_file, tmp_path / 'in', '-o', tmp_path / 'out') == 1
    assert 'in has no image and no video' in capsys.readouterr().err
