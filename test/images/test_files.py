import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.errors import ImageError, UnavailableError
from seg_ros.images.files import encode_jpeg, open_image, read_image, read_values, write_image
from seg_ros.images.video import VideoReader, VideoWriter

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
    expected = {'text.png': 'is not an image', 'missing.png': 'does not exist', '.': 'is a folder'}
    for name, words in expected.items():
        with pytest.raises(ImageError, match=words) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


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


SMOOTH = cv2.resize(PICTURE, (300, 200), interpolation=cv2.INTER_CUBIC)
FORMATS = ('.png', '.jpg', '.webp', '.bmp', '.ppm', '.tif')


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, SMOOTH)[1].tobytes()


def png(width: int, height: int, bits: int, kind: int, pixels: bytes) -> bytes:
    """A PNG file from its chunks."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0)
    palette = chunk(b'PLTE', bytes(range(48))) if kind == 3 else b''
    parts = chunk(b'IHDR', header), palette, chunk(b'IDAT', zlib.compress(pixels)), chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


@pytest.mark.parametrize('suffix', FORMATS)
def test_files_that_end_early_are_refused(suffix: str, tmp_path: Path) -> None:
    path, content = tmp_path / f'a{suffix}', encoded(suffix)
    path.write_bytes(content)
    np.testing.assert_array_equal(
        read_image(path), cv2.imdecode(np.frombuffer(content, np.uint8), 1)[..., ::-1]
    )
    for length in (1, 2, 3, 10, 30, 100, len(content) // 2, len(content) - 10, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError, match=f'a{suffix}'):
            read_image(path)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
def test_files_whose_end_was_not_written_are_refused(suffix: str, tmp_path: Path) -> None:
    content = encoded(suffix)
    (tmp_path / 'a').write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.raises(ImageError, match=r'early|damaged|0 x 0'):
        read_image(tmp_path / 'a')


def test_a_thumbnail_does_not_hide_a_cut(tmp_path: Path) -> None:
    content = encoded('.jpg')
    thumbnail = b'Exif\0\0' + cv2.imencode('.jpg', SMOOTH[:8, :8])[1].tobytes()
    app1 = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    whole = content[:2] + app1 + content[2:]
    (tmp_path / 'a.jpg').write_bytes(whole)
    assert read_image(tmp_path / 'a.jpg').shape == SMOOTH.shape
    (tmp_path / 'a.jpg').write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(ImageError, match='ends early'):
        read_image(tmp_path / 'a.jpg')


@pytest.mark.parametrize(
    'content',
    [
        png(40_000, 40_000, 8, 2, bytes(1000)),
        png(0, 5, 8, 2, b''),
        b'P6 1000000000 1000000000 255\n' + bytes(100),
        b'BM' + bytes(8) + struct.pack('<IIiiHHIIiiII', 54, 40, 100_000, 100_000, 1, 24, 1, 0, 0, 0, 0, 0),
        b'RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0' + bytes(4) + b'\xff' * 6 + bytes(10),
    ],
)
def test_sizes_are_bounded_before_anything_is_decoded(content: bytes, tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ImageError, match=r'a\.png'):
        read_image(tmp_path / 'a.png')


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
@pytest.mark.parametrize('kind', [0, 3])
def test_samples_and_indices_of_png_files_are_values(bits: int, kind: int, tmp_path: Path) -> None:
    most = (1 << bits) - 1
    row = np.array([0, most, 1, 0, most, 1, 1, 0], np.uint8) % 16
    packed = np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:])
    (tmp_path / 'a.png').write_bytes(png(8, 2, bits, kind, (b'\0' + packed.tobytes()) * 2))
    np.testing.assert_array_equal(read_values(tmp_path / 'a.png'), [row, row])


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_turned_as_viewers_turn_them(kind: str, orientation: int, tmp_path: Path) -> None:
    pillow, ops = pytest.importorskip('PIL.Image'), pytest.importorskip('PIL.ImageOps')
    exif = pillow.Exif()
    exif[274] = orientation
    pillow.fromarray(SMOOTH).save(tmp_path / 'a', kind, exif=exif)
    expected = np.asarray(ops.exif_transpose(pillow.open(tmp_path / 'a')).convert('RGB')).astype(int)
    got = read_image(tmp_path / 'a')
    assert got.shape == expected.shape
    assert abs(got - expected).mean() < 2  # decoders of JPEG and WebP round differently
    stored = open_image(tmp_path / 'a').colours(is_turned=False)
    assert stored.shape == (SMOOTH.shape if kind != 'TIFF' else got.shape)
    assert read_values(tmp_path / 'a').shape == got.shape


def test_any_name_of_a_file_is_read_and_written(tmp_path: Path) -> None:
    for name in (b'caf\xe9.png', b'a b.png', b'a\nb.png', b'\xff\xfe.png', 'straße.png'.encode()):
        path = tmp_path / os.fsdecode(name)
        write_image(path, PICTURE)
        np.testing.assert_array_equal(read_image(path), PICTURE)
        path.write_bytes(b'')
        with pytest.raises(ImageError, match='empty') as caught:
            read_image(path)
        assert str(caught.value).isprintable()


def test_videos_of_any_name_and_kind_are_opened_or_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.mp4')
    for name in (b'caf\xe9.mp4', b'pipe.mp4', b'absent.mp4', b'.'):
        path = tmp_path / os.fsdecode(name)
        if b'caf' in name:
            path.write_bytes(b'no video')
            with pytest.raises(ImageError, match='not UTF-8'), VideoWriter(path, 10) as video:
                video.write(PICTURE)
        with pytest.raises(ImageError) as caught, VideoReader(path) as reader:
            list(reader)
        assert str(caught.value).isprintable()
