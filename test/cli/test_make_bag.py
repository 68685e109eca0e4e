from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bags.reader import BagReader
from seg_ros.cli.main import main


def write_images(folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    folder.mkdir()
    images = {}
    for seed, name in enumerate(names):
        images[name] = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.cvtColor(images[name], cv2.COLOR_RGB2BGR))
    return images


def test_images_go_in_by_number_at_the_rate_asked_for(tmp_path: Path) -> None:
    images = write_images(tmp_path / 'in', ['10.png', '2.png', '1.png', 'drive_3.png'])
    words = ['--rate-hz', '4', '--match', '[0-9]*', '--topic', '/front', '--frame-id', 'lens']
    assert main(['make-bag', str(tmp_path / 'in'), '-o', str(tmp_path / 'out.mcap'), *words]) == 0
    with BagReader(tmp_path / 'out.mcap') as bag:
        messages = list(bag.messages('/front'))
    assert [m.stamp_ns for m in messages] == [1_000_000_000, 1_250_000_000, 1_500_000_000]
    for message, name in zip(messages, ['1.png', '2.png', '10.png'], strict=True):
        decoded = message.decode()
        assert decoded.header.frame_id == 'lens'
        np.testing.assert_array_equal(decoded.data.reshape(6, 8, 3), images[name])


def test_bad_input_leaves_no_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / 'in', ['2.png'])
    (tmp_path / 'in/2.png').write_bytes(b'no image')
    command = ['make-bag', str(tmp_path / 'in'), '-o', str(tmp_path / 'out.mcap')]
    assert main(command) == main([*command, '--match', 'x*']) == main([*command, '--rate-hz', '0']) == 1
    assert not list(tmp_path.glob('out*'))
    errors = capsys.readouterr().err
    for words in ('2.png is not an image', "no image that matches 'x*'", '--rate-hz is 0'):
        assert words in errors


def test_a_bad_image_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path / 'in', ['1.png', '2.png', '3.png'])
    (tmp_path / 'in/2.png').write_bytes(b'no image')
    (tmp_path / 'in/._1.png').write_bytes(b'junk')
    assert main(['make-bag', str(tmp_path / 'in'), '-o', str(tmp_path / 'out.mcap')]) == 1
    with BagReader(tmp_path / 'out.mcap') as bag:
        assert len(list(bag.messages('/camera/image_raw'))) == 2
    assert '2.png is not an image' in caplog.text
    assert '1 of 3 images' in caplog.text
