"""Damage inside JPEG files, against the warnings of libjpeg."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.errors import ImageError
from seg_ros.images.files import read_image
from seg_ros.images.jpeg_scan import check_pixels

RANDOM = np.random.default_rng(0)
COARSE = cv2.resize(RANDOM.integers(0, 256, (12, 16, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
PICTURE = (COARSE + RANDOM.normal(0, 6, COARSE.shape)).clip(0, 255).astype(np.uint8)
OPTIONS: dict[str, Sequence[int]] = {
    'plain': (),
    'optimised': (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    'restarts': (cv2.IMWRITE_JPEG_RST_INTERVAL, 7),
    'full colour': (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    'half colour': (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    'low quality': (cv2.IMWRITE_JPEG_QUALITY, 5),
}


def jpeg(options: Sequence[int], picture: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode('.jpg', picture, options)[1].tobytes()


def is_refused(content: bytes) -> bool:
    try:
        check_pixels(content)
    except ImageError:
        return True
    return False


def is_warned_of(content: bytes) -> bool:
    """Whether libjpeg prints a warning, but for a few bytes behind the pixels, or fails."""
    text, errors = os.memfd_create('errors'), os.dup(2)
    os.dup2(text, 2)
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    finally:
        os.dup2(errors, 2)
        warning = os.pread(text, 1 << 16, 0).decode()
        os.close(errors)
        os.close(text)
    few = re.fullmatch(r'Corrupt JPEG data: [1-8] extraneous bytes before marker 0x..\s*', warning)
    return picture is None or bool(warning and not few)


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize('size', [(240, 320), (1, 1), (8, 8), (17, 33), (39, 240)])
def test_whole_files_are_accepted(options: Sequence[int], size: tuple[int, int]) -> None:
    part = PICTURE[: size[0], : size[1]]
    for picture in (part, part[..., 0], part // 255 * 255, np.zeros_like(part)):
        content = jpeg(options, np.ascontiguousarray(picture))
        check_pixels(content)
        check_pixels(content[:-2] + b'\xff\xff\xff\xd9' + b'padding')


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_what_libjpeg_warns_of_is_refused(options: Sequence[int]) -> None:
    content = jpeg(options)
    n_warned = 0
    for k in np.random.default_rng(1).integers(700, len(content) - 300, 120).tolist():
        flipped = bytes([content[k] ^ 1 << k % 8])
        for damaged in (
            content[:k] + b'\xff\xd9',
            content[:k] + bytes(256) + content[k + 256 :],
            content[:k] + flipped + content[k + 1 :],
            content[:k] + content[k + 64 :],
        ):
            is_warned = is_warned_of(damaged)
            n_warned += is_warned
            assert is_refused(damaged) or not is_warned
    assert n_warned > 120


def test_bytes_that_cameras_leave_behind_the_pixels_are_no_damage() -> None:
    content = jpeg(())
    for n_bytes, expected in ((1, False), (8, False), (9, True)):
        more = content[:-2] + b'\x5a' * n_bytes + content[-2:]
        assert is_refused(more) == expected
        assert np.array_equal(
            cv2.imdecode(np.frombuffer(more, np.uint8), cv2.IMREAD_COLOR),
            cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR),
        )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    content = jpeg(())
    (tmp_path / 'a.jpg').write_bytes(content[: len(content) // 2] + b'\xff\xd9')
    with pytest.raises(ImageError, match=r'a\.jpg is a damaged JPEG file'):
        read_image(tmp_path / 'a.jpg')


def test_progressive_files_are_read(tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').write_bytes(jpeg((cv2.IMWRITE_JPEG_PROGRESSIVE, 1)))
    assert np.abs(read_image(tmp_path / 'a.jpg')[..., ::-1].astype(int) - PICTURE).mean() < 10


def test_files_without_tables_are_left_to_libjpeg() -> None:
    content = jpeg(())
    while (k := content.find(b'\xff\xc4')) >= 0:
        content = content[:k] + content[k + 2 + int.from_bytes(content[k + 2 : k + 4], 'big') :]
    check_pixels(content)


def test_impossible_headers_are_refused() -> None:
    content = bytearray(jpeg(()))
    frame = content.index(b'\xff\xc0')
    for k in range(frame + 9, frame + 19):
        for value in (0, 1, 255):
            changed = bytes(content[:k]) + bytes([value]) + bytes(content[k + 1 :])
            assert is_refused(changed) in (True, False)
    content[frame + 11] = content[frame + 14] = content[frame + 17] = 0
    assert is_refused(bytes(content))
