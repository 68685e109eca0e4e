"""``seg_ros match`` on rendered images, and on a bag."""

import json
from pathlib import Path

import cv2
import pytest

from seg_ros.cli.main import main
from seg_ros.synthetic import RenderedDrive


def frames(folder: Path) -> list[Path]:
    drive, paths = RenderedDrive(3, 4, 96, 128), []
    for index in (0, 1):
        paths.append(folder / f'{index}.png')
        cv2.imwrite(str(paths[-1]), drive[index][0][..., ::-1])
    return paths


def test_an_image_matches_itself(coded_model_file: Path, tmp_path: Path) -> None:
    image, _ = frames(tmp_path)
    out, picture = tmp_path / 'out.json', tmp_path / 'match.png'
    words = ['match', str(image), str(image), '--model', str(coded_model_file), '--backend', 'torch']
    assert main([*words, '--json', str(out), '-o', str(picture)]) == 0
    report = json.loads(out.read_text())
    assert report['matches']
    assert all(pair['distance'] == 0 for pair in report['matches'])
    assert len(report['codebook']) == 64
    assert cv2.imread(str(picture)).shape == (96, 256, 3)


def test_frames_of_bags_match(
    coded_model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = frames(tmp_path)
    (tmp_path / 'two').mkdir()
    for path in (first, second):
        path.rename(tmp_path / 'two' / path.name)
    bag = tmp_path / 'two.mcap'
    assert main(['make-bag', str(tmp_path / 'two'), '-o', str(bag)]) == 0
    words = ['match', str(bag), str(bag), '--model', str(coded_model_file), '--backend', 'torch']
    assert main([*words, '--frame', '0', '1', '-o', str(tmp_path / 'm.png')]) == 0
    capsys.readouterr()
    assert main([*words, '--frame', '0', '9', '-o', str(tmp_path / 'm.png')]) == 1
    assert 'none of index 9' in capsys.readouterr().err


def test_a_model_without_codes_is_refused(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, other = frames(tmp_path)
    words = ['match', str(image), str(other), '--model', str(model_file), '--backend', 'torch']
    assert main([*words, '-o', str(tmp_path / 'm.png')]) == 1
    assert 'fit-codes' in capsys.readouterr().err
