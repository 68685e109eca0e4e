from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bags.writer import BagWriter
from seg_ros.cli.main import main

STAMPS_MS = (1000, 1100, 1600, 1900, 2700)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    path = tmp_path / 'drive.mcap'
    with BagWriter(path) as writer:
        for value, stamp_ms in enumerate(STAMPS_MS):
            image = np.random.default_rng(value).integers(0, 256, (6, 8, 3), np.uint8)
            writer.write_image('/camera', image, stamp_ms * 1_000_000)
    return path


@pytest.mark.parametrize(
    ('every_s', 'expected'), [('0', STAMPS_MS), ('0.5', (1000, 1600, 2700)), ('60', (1000,))]
)
def test_images_are_so_far_apart(bag: Path, tmp_path: Path, every_s: str, expected: tuple[int, ...]) -> None:
    assert main(['make-images', str(bag), '-o', str(tmp_path / 'out'), '--every-s', every_s]) == 0
    names = [path.name for path in sorted((tmp_path / 'out').iterdir())]
    assert names == [f'drive_{stamp_ms:013}.png' for stamp_ms in expected]
    for name, stamp_ms in zip(names, expected, strict=True):
        image = np.random.default_rng(STAMPS_MS.index(stamp_ms)).integers(0, 256, (6, 8, 3), np.uint8)
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out' / name))[..., ::-1], image)


def test_bad_input_is_explained(bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ['make-images', '-o', str(tmp_path / 'out')]
    assert main([*words, str(bag), '--every-s', '-1']) == 1
    assert '--every-s is -1' in capsys.readouterr().err
    assert main([*words, str(bag), '--topic', '/none']) == 1
    assert main([*words, str(tmp_path / 'none.mcap')]) == 1
    errors = capsys.readouterr().err
    assert "no images on '/none'" in errors
    assert 'none.mcap does not exist' in errors
