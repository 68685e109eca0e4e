"""Samples of image files that are not 8 bits from 0 to 255, against readers other than OpenCV."""

import logging
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_ros.datasets.label_images import read_ids
from seg_ros.errors import ImageError
from seg_ros.images.files import read_image, read_values

RANDOM = np.random.default_rng(0)
FULL = RANDOM.integers(0, 65536, (24, 32, 3), np.uint16)
FULL[0, 0] = 65535


def write_wide(path: Path, samples: np.ndarray) -> None:
    """A 16-bit file by OpenCV, which writes samples as they are."""
    assert cv2.imwrite(str(path), samples[..., ::-1] if samples.ndim == 3 else samples)


def tiff(path: Path, samples: np.ndarray, **options: Any) -> Path:
    options = {'photometric': 'rgb' if samples.ndim == 3 else 'minisblack', **options}
    pytest.importorskip('tifffile').imwrite(path, samples, **options)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.ppm'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_the_bits_that_a_file_uses_become_8(
    tmp_path: Path, suffix: str, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    write_wide(tmp_path / f'a{suffix}', FULL >> (16 - bits))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_image(tmp_path / f'a{suffix}'), FULL // 256)
        read_image(tmp_path / f'a{suffix}')
    told = [record.getMessage() for record in caplog.records]
    assert [str(tmp_path) in text and f'only {bits} of' in text for text in told] == [True] * (bits < 16)


def test_grey_files_and_thermal_bands(tmp_path: Path) -> None:
    write_wide(tmp_path / 'a.png', FULL[..., 0] >> 4)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), np.repeat(FULL[..., :1] // 256, 3, axis=2))
    ramp = np.tile(np.linspace(7000, 8000, 256).astype(np.uint16), (16, 1))
    write_wide(tmp_path / 'band.png', ramp)
    expected = ((ramp - 7000.0) * 255 / 1000)[..., None].clip(0, 255)
    assert np.abs(read_image(tmp_path / 'band.png') - expected).max() < 4
    write_wide(tmp_path / 'fog.png', ramp * 8)
    np.testing.assert_array_equal(read_image(tmp_path / 'fog.png')[..., 0], ramp * 8 // 256)
    write_wide(tmp_path / 'black.png', np.zeros((4, 4), np.uint16))
    assert not read_image(tmp_path / 'black.png').any()


@pytest.mark.parametrize('most', [1, 15, 100, 128, 200, 254, 255, 256, 1023, 4095, 65534])
@pytest.mark.parametrize('kind', [2, 3, 5, 6])
def test_pnm_files_are_scaled_by_their_largest_value(tmp_path: Path, most: int, kind: int) -> None:
    samples = (np.arange(48) * 7919 % (most + 1)).reshape(4, -1)
    samples[0, 0] = most
    width = samples.shape[1] // (3 if kind in (3, 6) else 1)
    if kind > 3:
        pixels = samples.astype('>u2' if most > 255 else 'u1').tobytes()
    else:
        pixels = b'# rows\n' + b'\n'.join(b' '.join(b'%d' % k for k in row) for row in samples)
    path = tmp_path / 'a.ppm'
    path.write_bytes(b'P%d # made by hand\n%d 4\n%d\n' % (kind, width, most) + pixels)
    expected = samples.reshape(4, width, -1)
    scaled = np.round(expected * 255 / most)
    assert np.abs(read_image(path) - scaled).max() <= (1 if (255 % most) else 0)
    stored = read_values(path).reshape(4, width, -1)[..., ::-1]
    np.testing.assert_array_equal(stored, expected)
    if kind in (2, 5) and most <= 255:
        np.testing.assert_array_equal(read_ids(path), samples)


@pytest.mark.parametrize(
    'pixels', [b'P2 2 1 9 4 x', b'P2 2 1 9 4 10', b'P2 2 1 9 4 -1', b'P5 2 1 9\n\x04\x0a']
)
def test_damaged_pnm_files_are_named(tmp_path: Path, pixels: bytes) -> None:
    (tmp_path / 'a.pgm').write_bytes(pixels)
    for read in (read_image, read_values):
        with pytest.raises(ImageError, match=r'a\.pgm is a damaged'):
            read(tmp_path / 'a.pgm')


@pytest.mark.parametrize('order', '<>')
def test_tiff_files_with_a_sign(tmp_path: Path, order: str) -> None:
    for bits in (10, 12, 15):
        path = tiff(tmp_path / f'{bits}.tif', (FULL >> (16 - bits)).astype(np.int16), byteorder=order)
        np.testing.assert_array_equal(read_image(path), FULL // 256)
    with pytest.raises(ImageError, match=r'a\.tif has samples below 0'):
        read_image(tiff(tmp_path / 'a.tif', np.full((4, 4), -5, np.int16), byteorder=order))


@pytest.mark.parametrize('kind', ['float16', 'float32', 'float64', 'uint32', 'int32'])
@pytest.mark.parametrize('shape', [(4, 5), (4, 5, 3)])
def test_tiff_files_of_measured_values_are_not_called_damaged(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    path = tiff(tmp_path / 'a.tif', np.ones(shape, kind))
    words = f'samples of {8 * np.dtype(kind).itemsize} bits, {"floating" if "f" in kind else "whole"}'
    with pytest.raises(ImageError, match=words):
        read_image(path)
    if kind == 'float16':
        with pytest.raises(ImageError, match=words):
            read_values(path)


def test_big_tiff_is_named(tmp_path: Path) -> None:
    for order in '<>':
        with pytest.raises(ImageError, match='is a BigTIFF file'):
            read_image(tiff(tmp_path / 'a.tif', FULL, bigtiff=True, byteorder=order))


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('kind', ['unassalpha', 'assocalpha', 'unspecified'])
@pytest.mark.parametrize('bits', [8, 16])
def test_alpha_of_tiff_files_is_dropped(tmp_path: Path, order: str, kind: str, bits: int) -> None:
    samples = (np.dstack([FULL, FULL[..., 0] // 2]) >> (16 - bits)).astype(f'u{bits // 8}')
    path = tiff(tmp_path / 'a.tif', samples, photometric='rgb', extrasamples=[kind], byteorder=order)
    np.testing.assert_array_equal(read_image(path), FULL // 256)


def test_tiff_files_whose_zero_is_white(tmp_path: Path) -> None:
    grey = FULL[..., 0]
    path = tiff(tmp_path / 'a.tif', grey, photometric='miniswhite')
    assert np.abs(read_image(path)[..., 1].astype(int) - (255 - grey // 256.0)).max() <= 1


def test_tiff_files_of_12_packed_bits(tmp_path: Path) -> None:
    samples = [0, 1, 5, 100, 1000, 1023, 77, 16]
    text = ''.join(f'{sample:012b}' for sample in samples)
    pixels = int(text, 2).to_bytes(12, 'big')
    tags = {256: 4, 257: 2, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 2, 279: 12}
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    path = tmp_path / 'a.tif'
    path.write_bytes(struct.pack('<2sHIH', b'II', 42, 8, len(tags)) + entries + bytes(4) + pixels)
    assert read_image(path)[..., 0].ravel().tolist() == [sample // 16 for sample in samples]
