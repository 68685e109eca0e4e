"""Conversions against per-pixel formulas, Pillow, rosbags and, where it is installed, cv_bridge."""

import array
import io
import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_ros.errors import ImageError
from seg_ros.images.messages import ENCODINGS, MAX_PIXELS, image_from_compressed, image_from_message
from seg_ros.ros.messages import message_from_image

HEIGHT, WIDTH = 6, 10

# The samples of a pixel in memory, by letter; X is alpha, Y alone is grey.
PACKED = {
    'mono8': 'Y',
    'mono16': 'Y',
    'rgb8': 'RGB',
    'bgr8': 'BGR',
    'rgba8': 'RGBX',
    'bgra8': 'BGRX',
    'rgb16': 'RGB',
    'bgr16': 'BGR',
    'rgba16': 'RGBX',
    'bgra16': 'BGRX',
    '8UC1': 'Y',
    '8UC3': 'BGR',
    '8UC4': 'BGRX',
    '16UC1': 'Y',
    '16UC3': 'BGR',
}
PAIRS = {'yuv422': 'UYVY', 'uyvy': 'UYVY', 'yuv422_yuy2': 'YUYV', 'yuyv': 'YUYV'}


def message(encoding, *planes, step=0, is_bigendian=False):
    """An rclpy message of (rows, row bytes) uint8 planes, of which the second may be narrower or wider."""
    data = array.array('B')
    step = step or planes[0].shape[1]
    for plane in planes:
        n_rows, row_bytes = plane.shape
        plane_step = step * max(1, row_bytes // planes[0].shape[1])
        rows = np.full((n_rows, plane_step), 0xA5, np.uint8)
        rows[:, :row_bytes] = plane
        data.frombytes(rows.tobytes())
    msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step, is_bigendian=int(is_bigendian))
    msg.data = data
    return msg


def rgb_of_yuv(y, u, v):
    """BT.601, limited range, in floating point."""
    y, u, v = np.maximum(y - 16.0, 0) * 255 / 219, u - 128.0, v - 128.0
    rgb = np.stack((y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u), axis=-1)
    return np.clip(rgb, 0, 255)


def demosaiced(mosaic, pattern):
    """Each colour is the mean of its nearest samples; the border, where neighbours are missing, is NaN."""
    rgb = np.full((*mosaic.shape, 3), np.nan)
    for i in range(1, mosaic.shape[0] - 1):
        for j in range(1, mosaic.shape[1] - 1):
            for c, letter in enumerate('rgb'):
                near = {}
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if pattern[(i + di) % 2 * 2 + (j + dj) % 2] == letter:
                            near.setdefault(abs(di) + abs(dj), []).append(mosaic[i + di, j + dj])
                rgb[i, j, c] = np.mean(near[min(near)])
    return rgb


def samples_and_image(encoding, rng):
    """Planes of random uint8 or uint16 samples as the encoding lays them out, and the RGB they mean."""
    dtype = np.uint16 if '16' in encoding else np.uint8
    scale = 256 if '16' in encoding else 1

    def random(*shape):
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)

    if encoding in PACKED:
        order = PACKED[encoding]
        pixels = random(HEIGHT, WIDTH, len(order))
        letters = 'YYY' if order == 'Y' else 'RGB'
        return [pixels.reshape(HEIGHT, -1)], pixels[..., [order.index(c) for c in letters]] // scale
    if encoding.startswith('bayer_'):
        mosaic = random(HEIGHT, WIDTH)
        return [mosaic], demosaiced(mosaic // scale, encoding[6:10])
    if encoding in PAIRS:
        order = PAIRS[encoding]
        pairs = random(HEIGHT, WIDTH // 2, 4)
        y = pairs[..., [k for k, c in enumerate(order) if c == 'Y']].reshape(HEIGHT, WIDTH)
        u, v = (pairs[..., order.index(c)].repeat(2, axis=1) for c in 'UV')
        return [pairs.reshape(HEIGHT, -1)], rgb_of_yuv(y, u, v)
    shared = 1 if encoding == 'nv24' else 2
    y, chroma = random(HEIGHT, WIDTH), random(HEIGHT // shared, WIDTH // shared, 2)
    u, v = (chroma[..., k].repeat(shared, 0).repeat(shared, 1) for k in (0, 1))
    if encoding == 'nv21':
        u, v = v, u
    return [y, chroma.reshape(len(chroma), -1)], rgb_of_yuv(y, u, v)


def as_bytes(planes, is_bigendian=False):
    order = '>' if is_bigendian else '<'
    return [p.astype(p.dtype.newbyteorder(order)).view(np.uint8) for p in planes]


def some_message(layout, **changes):
    planes, _ = samples_and_image(layout, np.random.default_rng(0))
    msg = message(layout, *as_bytes(planes))
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('n_padding', [0, 7])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_equals_its_formula(encoding, n_padding, is_bigendian):
    planes, expected = samples_and_image(encoding, np.random.default_rng(1))
    planes = as_bytes(planes, is_bigendian)
    msg = message(encoding, *planes, step=planes[0].shape[1] + n_padding, is_bigendian=is_bigendian)
    image = image_from_message(msg)
    assert image.dtype == np.uint8
    assert image.shape == (HEIGHT, WIDTH, 3)
    known = ~np.isnan(expected)
    tolerance = 0 if encoding in PACKED else 1
    np.testing.assert_allclose(image[known].astype(float), expected[known], rtol=0, atol=tolerance)


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_borders_keep_the_colour(pattern):
    """One colour all over: wrong patterns swap channels, wrong borders show at the rim."""
    colour = {'r': 200, 'g': 100, 'b': 50}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    image = image_from_message(message(f'bayer_{pattern}8', mosaic))
    assert (image == list(colour.values())).all()


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_messages_of_rosbags_serve_alike(encoding):
    msg = some_message(encoding)
    store = get_typestore(Stores.ROS2_KILTED)
    read = store.deserialize_cdr(bytes(serialize_message(msg)), 'sensor_msgs/msg/Image')
    assert isinstance(read.data, np.ndarray)
    np.testing.assert_array_equal(image_from_message(read), image_from_message(msg))


def test_rgb8_is_a_view_of_the_message():
    msg = some_message('rgb8')
    image = image_from_message(msg)
    msg.data[0] = 255 - msg.data[0]
    assert image[0, 0, 0] == msg.data[0]


@pytest.mark.parametrize(
    ('encoding', 'changes', 'complaint'),
    [
        ('rgb8', {'height': 0}, 'at least one pixel'),
        ('rgb8', {'width': 0}, 'at least one pixel'),
        ('rgb8', {'height': HEIGHT + 1}, 'expected 7 rows of 30 = 210 bytes'),
        ('rgb8', {'data': array.array('B')}, 'truncated'),
        ('rgb8', {'step': 29}, 'step of at least 30'),
        ('rgb8', {'step': 0}, 'step of at least 30'),
        ('rgb8', {'height': 2**32 - 1, 'step': 2**32 - 1}, 'truncated'),
        ('rgb8', {'width': 2**32 - 1}, 'step of at least'),
        ('mono16', {'step': 19}, 'step of at least 20'),
        ('yuyv', {'width': 9}, 'width divisible by 2'),
        ('nv21', {'width': 9}, 'width divisible by 2'),
        ('nv21', {'height': 5}, 'height by 2'),
        ('nv21', {'data': array.array('B', bytes(9 * WIDTH - 1))}, 'expected 9 rows of 10'),
        ('nv24', {'data': array.array('B', bytes(18 * WIDTH - 1))}, 'expected 18 rows of 10'),
        ('bayer_rggb8', {'height': 2}, 'at least 3x3'),
        ('rgb8', {'encoding': ''}, 'known encodings: rgb8'),
        ('rgb8', {'encoding': 'RGB8'}, 'known encodings: rgb8'),
        ('rgb8', {'encoding': '32FC1'}, "'32FC1'.*known encodings: rgb8.*bayer_rggb8"),
    ],
)
def test_impossible_messages_are_refused(encoding, changes, complaint):
    with pytest.raises(ImageError, match=complaint):
        image_from_message(some_message(encoding, **changes))


@settings(deadline=None, max_examples=500)
@given(
    encoding=st.sampled_from([*ENCODINGS, 'rubbish']),
    height=st.integers(0, 9) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 9) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 90) | st.integers(0, 2**32 - 1),
    is_bigendian=st.integers(0, 255),
    data=st.binary(max_size=900) | st.integers(0, 900).map(bytes),
)
def test_garbage_gives_an_image_or_an_image_error(encoding, height, width, step, is_bigendian, data):
    msg = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=is_bigendian)
    msg.data = array.array('B', data)
    try:
        image = image_from_message(msg)
    except ImageError:
        return
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


# ---- compressed


def smooth_picture():
    i, j = np.mgrid[0:48, 0:64]
    return np.stack((4 * j, 5 * i, 128 + 0 * i), axis=-1).clip(0, 255).astype(np.uint8)


def packed(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def compressed(data, format_='jpeg'):
    msg = CompressedImage(format=format_)
    msg.data = array.array('B', data)
    return msg


JPEG = packed(Picture.fromarray(smooth_picture()), 'JPEG')
PNG = packed(Picture.fromarray(smooth_picture()), 'PNG')
FRAME = JPEG.index(b'\xff\xc0')


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'subsampling': 0, 'restart_marker_rows': 1}])
def test_jpeg_decodes_as_by_pillow(mode, options):
    file = packed(Picture.fromarray(smooth_picture()).convert(mode), 'JPEG', **options)
    expected = np.asarray(Picture.open(io.BytesIO(file)).convert('RGB')).astype(int)
    image = image_from_compressed(compressed(file, 'rgb8; jpeg compressed bgr8'))
    np.testing.assert_allclose(image, expected, rtol=0, atol=4)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'LA', 'P', '1'])
def test_png_decodes_as_by_pillow(mode):
    picture = Picture.fromarray(smooth_picture()).convert(mode)
    if mode in ('RGBA', 'LA'):
        picture.putalpha(7)
    image = image_from_compressed(compressed(packed(picture, 'PNG'), f'{mode}; png compressed '))
    np.testing.assert_array_equal(image, np.asarray(picture.convert('RGB')))


def test_png_of_16_bits_is_scaled_by_256():
    grey = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    file = packed(Picture.fromarray(grey), 'PNG')
    image = image_from_compressed(compressed(file, 'mono16; png compressed '))
    np.testing.assert_array_equal(image, np.stack([grey // 256] * 3, axis=-1))


def test_compressed_message_of_rosbags_serves_alike():
    msg = compressed(JPEG)
    store = get_typestore(Stores.ROS2_KILTED)
    read = store.deserialize_cdr(bytes(serialize_message(msg)), 'sensor_msgs/msg/CompressedImage')
    np.testing.assert_array_equal(image_from_compressed(read), image_from_compressed(msg))


@pytest.mark.parametrize('padding', [b'\0' * 100, b'\xff' * 3, b'\x20'])
def test_padding_after_a_jpeg_does_no_harm(padding):
    image = image_from_compressed(compressed(JPEG + padding))
    np.testing.assert_array_equal(image, image_from_compressed(compressed(JPEG)))


def test_noted_rotation_is_ignored():
    exif = Picture.Exif()
    exif[0x0112] = 6
    turned = packed(Picture.fromarray(smooth_picture()), 'JPEG', exif=exif)
    image = image_from_compressed(compressed(turned))
    np.testing.assert_array_equal(image, image_from_compressed(compressed(JPEG)))


def jpeg_with_thumbnail():
    segment = b'Exif\0\0' + JPEG
    return JPEG[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + JPEG[2:]


@pytest.mark.parametrize(
    'file',
    [
        JPEG,
        packed(Picture.fromarray(smooth_picture()), 'JPEG', progressive=True),
        jpeg_with_thumbnail(),
        PNG,
    ],
    ids=['jpeg', 'progressive', 'thumbnail', 'png'],
)
def test_every_truncated_file_is_refused(file):
    assert image_from_compressed(compressed(file)).shape == (48, 64, 3)
    for n_bytes in range(len(file)):
        with pytest.raises(ImageError):
            image_from_compressed(compressed(file[:n_bytes]))


def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


BOMBS = {
    'jpeg': JPEG[: FRAME + 5] + b'\xff\xff\xff\xff' + JPEG[FRAME + 9 :],
    'png': PNG[:8] + chunk(b'IHDR', struct.pack('>II', 100_000, 100_000) + PNG[24:29]) + PNG[33:],
}


@pytest.mark.parametrize('file', BOMBS.values(), ids=BOMBS)
def test_images_beyond_the_limit_are_refused_undecoded(file):
    with pytest.raises(ImageError, match=f'expected 1 to {MAX_PIXELS} pixels'):
        image_from_compressed(compressed(file))


@pytest.mark.parametrize(
    ('file', 'format_', 'complaint'),
    [
        (b'', 'jpeg', 'has 0 bytes'),
        (b'not an image', 'jpeg', 'expected a JPEG or PNG'),
        (packed(Picture.fromarray(smooth_picture()), 'GIF'), 'gif', 'a JPEG or PNG'),
        (bytes(12) + PNG, '16UC1; compressedDepth png', 'depth'),
        (JPEG[:2] + b'\xff\x01' + JPEG[2:], 'jpeg', 'no segment begins at byte 2'),
        (JPEG[:FRAME] + JPEG[JPEG.index(b'\xff\xda') :], 'jpeg', 'before its frame header'),
        (PNG[:8] + PNG[33:], 'png', 'one header'),
        (PNG[:33] + PNG[8:], 'png', 'one header'),
        (PNG[:33] + chunk(b'IEND', b''), 'png', 'cannot hold'),
    ],
)
def test_other_files_are_refused(file, format_, complaint):
    with pytest.raises(ImageError, match=complaint):
        image_from_compressed(compressed(file, format_))


@settings(deadline=None, max_examples=200)
@given(position=st.integers(0, len(PNG) - 1), difference=st.integers(1, 255))
def test_any_changed_byte_of_a_png_is_noticed(position, difference):
    file = bytearray(PNG)
    file[position] ^= difference
    with pytest.raises(ImageError):
        image_from_compressed(compressed(file))


@settings(deadline=None, max_examples=200)
@given(
    position=st.integers(0, len(JPEG) - 1),
    junk=st.binary(min_size=1, max_size=20),
    n_removed=st.integers(0, 20),
)
def test_a_damaged_jpeg_gives_an_image_or_an_image_error(position, junk, n_removed):
    try:
        image = image_from_compressed(compressed(JPEG[:position] + junk + JPEG[position + n_removed :]))
    except ImageError:
        return
    assert image.ndim == 3
    assert image.dtype == np.uint8


# ---- building


BUILT = {'mono8': (np.uint8, (5, 7)), 'rgb8': (np.uint8, (5, 7, 3)), '16UC1': (np.uint16, (5, 7))}


def random_array(encoding):
    dtype, shape = BUILT[encoding]
    return np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize('prepare', [np.ascontiguousarray, np.asfortranarray], ids=['contiguous', 'not'])
@pytest.mark.parametrize('encoding', BUILT)
def test_built_message_reads_back(encoding, prepare):
    pixels, header = random_array(encoding), Header(frame_id='camera')
    header.stamp.sec = 12
    msg = message_from_image(prepare(pixels), encoding, header)
    assert msg.header is header
    assert (msg.height, msg.width, msg.encoding) == (5, 7, encoding)
    assert msg.is_bigendian == (sys.byteorder == 'big')
    assert isinstance(msg.data, array.array)
    assert msg.step * msg.height == len(msg.data)
    read = get_typestore(Stores.ROS2_KILTED).deserialize_cdr(
        bytes(serialize_message(msg)), 'sensor_msgs/msg/Image'
    )
    assert read.header.frame_id == 'camera'
    assert read.header.stamp.sec == 12
    np.testing.assert_array_equal(read.data.view(pixels.dtype).reshape(pixels.shape), pixels)


def test_built_message_is_a_copy():
    pixels = random_array('mono8')
    msg = message_from_image(pixels, 'mono8', Header())
    before = bytes(msg.data)
    pixels[:] = 0
    assert bytes(msg.data) == before


@pytest.mark.parametrize(
    ('pixels', 'encoding', 'complaint'),
    [
        (np.zeros((2, 3), np.uint8), 'bgr8', 'known ones: mono8, rgb8, 16UC1'),
        (np.zeros((2, 3), np.int64), 'mono8', r'\(2, 3\) <i8; expected \(H, W\)'),
        (np.zeros((2, 3, 1), np.uint8), 'mono8', 'expected'),
        (np.zeros((2, 3, 4), np.uint8), 'rgb8', r'expected \(H, W, 3\)'),
        (np.zeros(6, np.uint8), 'mono8', 'expected'),
        (np.zeros((0, 3), np.uint8), 'mono8', 'not empty'),
        (np.zeros((2, 3), np.dtype(np.uint16).newbyteorder('S')), '16UC1', 'expected'),
    ],
)
def test_arrays_that_do_not_fit_are_refused(pixels, encoding, complaint):
    with pytest.raises(ImageError, match=complaint):
        message_from_image(pixels, encoding, Header())


# ---- cv_bridge, an implementation of others


@pytest.fixture(scope='module')
def bridge():
    cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is not installed', exc_type=ImportError)
    return cv_bridge.CvBridge()


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_cv_bridge_agrees(bridge, encoding):
    from cv_bridge import CvBridgeError

    msg = some_message(encoding)
    try:
        theirs = bridge.imgmsg_to_cv2(msg, 'rgb8')
    except CvBridgeError as err:
        pytest.skip(f'cv_bridge does not convert {encoding}: {err}')
    tolerance = 1 if '16' in encoding else 0
    np.testing.assert_allclose(image_from_message(msg).astype(int), theirs, rtol=0, atol=tolerance)


def test_cv_bridge_opens_our_label_images(bridge):
    labels = random_array('mono8')
    theirs = bridge.imgmsg_to_cv2(message_from_image(labels, 'mono8', Header()), 'mono8')
    np.testing.assert_array_equal(theirs, labels)
