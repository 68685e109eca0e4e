from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.errors import ImageError, UnavailableError
from seg_ros.images.files import encode_jpeg, read_image, read_values, write_image

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_colours_keep_their_order(tmp_path: Path) -> None:
    write_image(tmp_path / 'a.png', PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), PICTURE)
    Image = pytest.importorskip('PIL.Image')  # noqa: N806
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'a.png')), PICTURE)


def test_values_are_not_converted(tmp_path: Path) -> None:
    write_image(tmp_path / 'ids.png', PICTURE[..., 0])
    np.testing.assert_array_equal(read_values(tmp_path / 'ids.png'), PICTURE[..., 0])
    wide = np.arange(6, dtype=np.uint16).reshape(2, 3) * 300
    cv2.imwrite(str(tmp_path / 'wide.png'), wide)
    np.testing.assert_array_equal(read_values(tmp_path / 'wide.png'), wide)
    assert read_image(tmp_path / 'ids.png').shape == (5, 7, 3)


def test_slices_and_mirrored_pictures_are_written(tmp_path: Path) -> None:
    write_image(tmp_path / 'a.png', PICTURE[::-1, 1:-1])
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), PICTURE[::-1, 1:-1])


def test_a_jpeg_in_memory_keeps_thin_coloured_lines() -> None:
    picture = np.full((16, 16, 3), 128, np.uint8)
    picture[:, 7] = 230, 40, 40
    content = encode_jpeg(picture, 95)
    assert content.startswith(b'\xff\xd8')
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(decoded.astype(int) - picture).max() < 30


@pytest.mark.parametrize('read', [read_image, read_values])
def test_files_that_are_not_images_are_named(read: Any, tmp_path: Path) -> None:
    (tmp_path / 'text.png').write_text('text')
    for name in ('text.png', 'missing.png', '.'):
        with pytest.raises(ImageError, match='is missing or is not an image'):
            read(tmp_path / name)


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'no_folder.a\.png'):
        write_image(tmp_path / 'no_folder/a.png', PICTURE)
    for name in ('a.txt', 'a'):
        with pytest.raises(UnavailableError, match=r'\.png'):
            write_image(tmp_path / name, PICTURE)


@pytest.mark.parametrize('shape', [(5, 7, 4), (5, 7, 1), (5,), (0, 7, 3)])
def test_only_pictures_are_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='expected'):
        write_image(tmp_path / 'a.png', np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match='float'):
        encode_jpeg(np.zeros((2, 2, 3)), 90)  # type: ignore[arg-type]
