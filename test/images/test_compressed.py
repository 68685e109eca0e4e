"""Formats of compressed messages as they are published, kinds of files, and files that are hostile."""

import array
import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image

from seg_ros.errors import ImageError
from seg_ros.images.file_headers import MAX_PIXELS, MAX_SCANS
from seg_ros.images.messages import image_of

HEIGHT, WIDTH = 48, 64
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack((4 * X, 5 * Y, 128 + 0 * X), axis=-1).clip(0, 255).astype(np.uint8)
GREY = RGB[..., 0]
PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')


def encoded(suffix, values, *options):
    done, content = cv2.imencode(suffix, values, options)
    assert done
    return content.tobytes()


def compressed(content, format_):
    msg = CompressedImage(format=format_)
    msg.data = array.array('B', content)
    return msg


def raw(encoding, values):
    msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=values[0].nbytes)
    msg.data = array.array('B', values.tobytes())
    return msg


def mosaic(pattern):
    """(H, W) uint8: of each pixel of RGB, the colour that the pattern has there."""
    found = np.empty((HEIGHT, WIDTH), np.uint8)
    for k, letter in enumerate(pattern):
        found[k // 2 :: 2, k % 2 :: 2] = RGB[k // 2 :: 2, k % 2 :: 2, 'rgb'.index(letter)]
    return found


@pytest.mark.parametrize('codec', ['png', 'tiff'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_bayer_mosaics_are_demosaiced(pattern, bits, codec):
    encoding, values = f'bayer_{pattern}{bits}', mosaic(pattern)
    if bits == 16:
        values = values.astype(np.uint16) * 257
    image = image_of(compressed(encoded(f'.{codec}', values), f'{encoding}; {codec} compressed '))
    np.testing.assert_array_equal(image, image_of(raw(encoding, values)))
    assert abs(image.astype(int) - RGB)[1:-1, 1:-1].max() <= 5


@pytest.mark.parametrize('target', ['', 'itself'])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_bayer_mosaics_in_jpeg(pattern, target):
    encoding = f'bayer_{pattern}8'
    content = encoded('.jpg', mosaic(pattern), cv2.IMWRITE_JPEG_QUALITY, 100)
    image = image_of(compressed(content, f'{encoding}; jpeg compressed {target and encoding}'))
    assert abs(image.astype(int) - RGB)[1:-1, 1:-1].mean() < 4


def test_a_mosaic_that_was_made_grey_or_coloured_stays_so():
    """image_transport writes mono8 unless told to keep the mosaic; some drivers write colour."""
    image = image_of(compressed(encoded('.jpg', GREY), 'bayer_rggb8; jpeg compressed mono8'))
    assert (image[..., 0] == image[..., 2]).all()
    image = image_of(compressed(encoded('.png', RGB[..., ::-1]), 'bayer_rggb8; png compressed bgr8'))
    np.testing.assert_array_equal(image, RGB)


OF_COLOUR = [
    ('.png', 'rgb8; png compressed bgr8'),
    ('.png', 'bgr8; png compressed bgr8'),
    ('.png', 'yuv422_yuy2; png compressed bgr8'),
    ('.png', '8UC3; png compressed '),
    ('.png', 'png'),
    ('.png', 'PNG'),
    ('.png', ''),
    ('.png', 'jpeg'),
    ('.bmp', 'bmp'),
    ('.tiff', 'tif'),
    ('.tiff', 'bgr8; tiff compressed '),
    ('.tiff', '8UC3; tiff compressed '),
]


@pytest.mark.parametrize(('suffix', 'format_'), OF_COLOUR)
def test_colours_are_those_of_the_file(suffix, format_):
    image = image_of(compressed(encoded(suffix, RGB[..., ::-1]), format_))
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    'format_',
    [
        'rgb8; jpeg compressed bgr8',
        'bgr8; jpeg compressed bgr8',
        'yuv422; jpeg compressed bgr8',
        'jpeg',
        'jpg',
    ],
)
def test_jpeg_formats(format_):
    image = image_of(compressed(encoded('.jpg', RGB[..., ::-1]), format_))
    assert abs(image.astype(int) - RGB).mean() < 3


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('letters', ['rgb', 'bgr', 'rgba', 'bgra'])
def test_tiff_of_image_transport_has_the_channels_of_the_encoding(letters, bits):
    rgba = np.dstack([RGB, GREY])
    values = np.ascontiguousarray(rgba[..., ['rgba'.index(letter) for letter in letters]])
    if bits == 16:
        values = values.astype(np.uint16) * 257
    image = image_of(compressed(encoded('.tiff', values), f'{letters}{bits}; tiff compressed '))
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize('format_', ['rgba8; png compressed bgra8', 'bgra8; png compressed bgra8', 'png'])
def test_alpha_is_dropped(format_):
    values = np.dstack([RGB[..., ::-1], GREY])
    np.testing.assert_array_equal(image_of(compressed(encoded('.png', values), format_)), RGB)


@pytest.mark.parametrize('letter', ['', 'a'])
def test_16_bit_colour(letter):
    values = np.dstack([RGB[..., ::-1], GREY])[..., : 3 + len(letter)].astype(np.uint16) * 257
    content = encoded('.png', np.ascontiguousarray(values))
    image = image_of(compressed(content, f'rgb{letter}16; png compressed bgr{letter}16'))
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    'format_', ['mono8; png compressed ', '8UC1; png compressed ', 'mono16; png compressed ', 'png']
)
def test_grey(format_):
    image = image_of(compressed(encoded('.png', GREY), format_))
    np.testing.assert_array_equal(image, np.dstack([GREY] * 3))


@pytest.mark.parametrize('quality', [80, 101])
def test_webp(quality):
    image = image_of(compressed(encoded('.webp', RGB[..., ::-1], cv2.IMWRITE_WEBP_QUALITY, quality), 'webp'))
    assert abs(image.astype(int) - RGB).mean() < (0.01 if quality > 100 else 4)


PNG = encoded('.png', GREY)


@pytest.mark.parametrize(
    ('content', 'format_'),
    [
        (bytes(12) + PNG, '16UC1; compressedDepth png'),
        (bytes(12) + PNG, '16UC1; compressedDepth'),
        (bytes(12) + PNG, '16UC1; png compressed '),
        (bytes(20), '16UC1; compressedDepth rvl'),
        (bytes(20), '32FC1; compressedDepth png'),
    ],
)
def test_depth_is_refused_by_name(content, format_):
    with pytest.raises(ImageError, match='compressedDepth'):
        image_of(compressed(content, format_))


def tiff(**changes):
    """A TIFF file of 8-bit colour, with altered entries of its directory."""
    file = io.BytesIO()
    Picture.fromarray(RGB).save(file, 'TIFF')
    content = bytearray(file.getvalue())
    (offset,) = struct.unpack_from('<I', content, 4)
    (n,) = struct.unpack_from('<H', content, offset)
    for k in range(n):
        place = offset + 2 + 12 * k
        (tag,) = struct.unpack_from('<H', content, place)
        if str(tag) in changes:
            struct.pack_into('<HII', content, place + 2, 4, 1, changes[str(tag)])
    return bytes(content)


def webp(*, width):
    content = bytearray(encoded('.webp', RGB, cv2.IMWRITE_WEBP_QUALITY, 80))
    struct.pack_into('<H', content, 26, width)
    return bytes(content)


def bmp(width, height):
    content = bytearray(encoded('.bmp', RGB))
    struct.pack_into('<ii', content, 18, width, height)
    return bytes(content)


def animated_png(height):
    """An animation whose header states more rows than its frames have."""
    file = io.BytesIO()
    first, second = (Picture.fromarray(pixels) for pixels in (RGB, 255 - RGB))
    first.save(file, 'PNG', save_all=True, append_images=[second])
    content = bytearray(file.getvalue())
    struct.pack_into('>I', content, 20, height)
    struct.pack_into('>I', content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


def jpeg_of_many_scans():
    content = io.BytesIO()
    Picture.fromarray(RGB).save(content, 'JPEG', progressive=True)
    file = content.getvalue()
    first = file.index(b'\xff\xda')
    return file[:first] + file[first:-2] * (MAX_SCANS + 1) + file[-2:]


HOSTILE = {
    'png of more pixels than it can hold': animated_png(262_192),
    'tiff of many pixels': tiff(**{'256': 100_000, '257': 100_000}),
    'tiff without width': tiff(**{'256': 0}),
    'tiff of strips outside': tiff(**{'273': 2**31}),
    'tiff of many samples': tiff(**{'277': 60_000}),
    'tiff of wide samples': tiff(**{'258': 64}),
    'tiff cut': tiff()[:-300],
    'tiff of nothing': b'II*\0',
    'tiff of a far directory': b'II*\0\xff\xff\xff\x7f',
    'webp cut': webp(width=WIDTH)[:-20],
    'webp of another size': webp(width=16383),
    'bmp of many pixels': bmp(2**31 - 1, 2**31 - 1),
    'bmp of negative width': bmp(-4, 4),
    'bmp of the smallest height': bmp(4, -(2**31)),
    'jpeg of many scans': jpeg_of_many_scans(),
}


@pytest.mark.parametrize('content', HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused_without_memory(content):
    tracemalloc.start()
    with pytest.raises(ImageError):
        image_of(compressed(content, 'jpeg'))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 30 * len(content) + 3_000_000


def test_errors_of_opencv_are_told_in_one_line():
    with pytest.raises(ImageError, match='decoded') as caught:
        image_of(compressed(bmp(2**24, 1), 'png'))
    assert str(caught.value).isprintable()


def test_the_limit_is_named():
    with pytest.raises(ImageError, match=str(MAX_PIXELS)):
        image_of(compressed(tiff(**{'256': 10_000_000}), 'tiff'))


FILES = [
    encoded('.jpg', RGB[:9, :11]),
    encoded('.png', RGB[:9, :11]),
    encoded('.webp', RGB[:9, :11]),
    encoded('.bmp', RGB[:9, :11]),
    tiff(),
]


@settings(deadline=None, max_examples=400)
@given(
    content=st.sampled_from(FILES),
    position=st.floats(0, 1),
    junk=st.binary(max_size=8),
    n_removed=st.integers(0, 12),
    format_=st.sampled_from(
        ['jpeg', 'bayer_rggb8; png compressed ', '16UC1; png compressed ', 'rgb8; tiff compressed ']
    )
    | st.text(max_size=30),
)
def test_damage_gives_an_image_or_an_image_error(content, position, junk, n_removed, format_):
    at = int(position * len(content))
    try:
        image = image_of(compressed(content[:at] + junk + content[at + n_removed :], format_))
    except ImageError:
        return
    assert image.ndim == 3
    assert (image.shape[2], image.dtype) == (3, np.uint8)
