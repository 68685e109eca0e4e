from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bags.messages import IMAGE, image_cdr
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


@pytest.mark.parametrize('stamp_ns', [0, -1, 1_000_000_000])
def test_stamps_that_repeat_or_are_absent_overwrite_nothing(tmp_path: Path, stamp_ns: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 8, 3), np.uint8)
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        for index, image in enumerate(images):
            writer.write_image('/camera', image, stamp_ns, received_ns=(5 + index // 2) * 10**9)
    words = ['make-images', str(tmp_path / 'drive.mcap'), '-o', str(tmp_path / 'out'), '--every-s']
    for _ in range(2):  # the same images again add nothing
        assert main([*words, '0']) == 0
        found = [cv2.imread(str(path))[..., ::-1].tobytes() for path in (tmp_path / 'out').iterdir()]
        assert sorted(found) == sorted(image.tobytes() for image in images)
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    first = 1000 if stamp_ns > 0 else 5000
    assert {f'drive_{first:013}.png', f'drive_{first:013}_2.png'} <= names
    if stamp_ns <= 0:  # the times of recording, one second apart
        assert (
            main(['make-images', str(tmp_path / 'drive.mcap'), '-o', str(tmp_path / 'few'), '--every-s', '2'])
            == 0
        )
        assert len(list((tmp_path / 'few').iterdir())) == 3


def test_two_cameras_in_one_folder(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        for value, topic in ((10, '/left'), (200, '/right')):
            writer.write_image(topic, np.full((6, 8, 3), value, np.uint8), 10**9)
    for topic in ('/left', '/right'):
        words = ['make-images', str(tmp_path / 'drive.mcap'), '-o', str(tmp_path / 'out'), '--topic', topic]
        assert main(words) == 0
    assert sorted(cv2.imread(str(path)).mean() for path in (tmp_path / 'out').iterdir()) == [10, 200]


@pytest.mark.parametrize('bad', [b'', b'\0', b'\0\1\0\0', b'\0\1\0\0' + b'\xff' * 40, 'encoding', 'cut'])
def test_a_bad_frame_is_told_and_left_out(
    tmp_path: Path, bad: bytes | str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    image = np.full((6, 8, 3), 100, np.uint8)
    good = image_cdr(image, 3 * 10**9, 'x')
    if isinstance(bad, str):
        bad = good.replace(b'rgb8', b'xxx8') if bad == 'encoding' else good[:-20]
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        for second in (1, 2):
            writer.write_image('/camera', image, second * 10**9)
        writer.write('/camera', IMAGE, bad, 3 * 10**9)
        writer.write_image('/camera', image, 4 * 10**9)
    assert main(['make-images', str(tmp_path / 'drive.mcap'), '-o', str(tmp_path / 'out')]) == 1
    assert '3 of 4 images' in (told := capsys.readouterr().out)
    assert 'bad frames: 1' in told
    assert '/camera at 3000000000 ns' in caplog.text
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == [f'drive_{second * 1000:013}.png' for second in (1, 2, 4)]
