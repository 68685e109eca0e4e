"""``seg_ros match`` on rendered images, and on a bag."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.cli.match import match
from seg_ros.segments.regions import Regions, region_shapes
from seg_ros.segments.segments import Segments
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


def test_only_mutual_neighbours_within_reach_match() -> None:
    def segments(*codes: int) -> Segments:
        ids = np.repeat(np.arange(len(codes), dtype=np.int32), 4)[None].repeat(4, 0)
        packed = np.array(codes, np.uint8)[:, None]
        n = len(codes)
        return Segments(Regions(ids, n), packed, np.zeros((n, 8), np.float32), np.full(n, 255, np.uint8))

    one, other = segments(0b0, 0b1, 0b11110000), segments(0b1, 0b11111111)
    shapes = [region_shapes(one.regions), region_shapes(other.regions)]
    found = match(one, other, shapes, radius=0.5, min_area=0.01)
    assert [(pair.a, pair.b, pair.distance) for pair in found] == [(2, 1, 0), (3, 2, 4)]
    assert [(p.a, p.b) for p in match(one, other, shapes, radius=0.4, min_area=0.01)] == [(2, 1)]
    assert match(one, other, shapes, radius=1, min_area=0.9) == []
