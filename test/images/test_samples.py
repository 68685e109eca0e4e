"""Bit depths, thermal cameras and depth cameras, raw and compressed."""

import array
import logging

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from seg_ros.errors import ImageError
from seg_ros.images.messages import ImageReader, image_of
from seg_ros.images.samples import BIT_DEPTHS, SampleScaler

HEIGHT, WIDTH = 48, 64
GREY = (np.add.outer(np.arange(HEIGHT) * 3, np.arange(WIDTH) * 2) % 256).astype(np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY[::-1]], axis=-1)
CHANNELS = {'mono16': 1, '16UC1': 1, 'rgb16': 3, 'bgr16': 3, 'rgba16': 4, 'bgra16': 4, '16UC3': 3}
BAYER = [f'bayer_{pattern}16' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg')]


def message(encoding, samples, *, is_bigendian=False, frame_id='camera'):
    """A raw message of (H, W) or (H, W, C) uint16 samples."""
    data = samples.astype('>u2' if is_bigendian else '<u2')
    msg = Image(height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=int(is_bigendian))
    msg.header.frame_id, msg.step = frame_id, data[0].nbytes
    msg.data = array.array('B', data.tobytes())
    return msg


def compressed(samples, encoding):
    msg = CompressedImage(format=f'{encoding}; png compressed ')
    msg.data = array.array('B', cv2.imencode('.png', samples)[1].tobytes())
    return msg


def pixels_of(encoding):
    """8-bit samples of an encoding."""
    n = CHANNELS.get(encoding, 1)
    return GREY if n == 1 else np.dstack([COLOUR, GREY])[..., :n]


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('bit_depth', BIT_DEPTHS)
@pytest.mark.parametrize('encoding', [*CHANNELS, *BAYER])
def test_samples_of_few_bits_give_the_same_image(encoding, bit_depth, is_bigendian):
    pixels = pixels_of(encoding)
    samples = pixels.astype(np.uint16) << (bit_depth - 8) | np.uint16((1 << (bit_depth - 8)) - 1)
    msg = message(encoding, samples, is_bigendian=is_bigendian)
    expected = image_of(message(encoding, pixels.astype(np.uint16) * 257))
    for told in (0, bit_depth):
        reader = ImageReader()
        np.testing.assert_array_equal(reader.read(msg, told), expected)
        assert (reader.bit_depth, reader.warning) == (str(bit_depth), '')


def test_the_depth_only_rises_and_each_change_is_told_once(caplog):
    caplog.set_level(logging.INFO, 'seg_ros')
    scaler = SampleScaler('mono16')
    ramp = np.linspace(0, 1, 256).reshape(16, 16, 1)
    depths = []
    for most in (0, 500, 1023, 3000, 900, 65535, 10):
        scaler((ramp * most).astype(np.uint16))
        depths.append(scaler.bit_depth)
    assert depths == [0, 10, 10, 12, 12, 16, 16]
    assert [record.getMessage().split(' bits')[0][-2:] for record in caplog.records] == ['10', '12', '16']


def test_samples_above_the_depth_are_cut_off_and_told():
    reader = ImageReader()
    image = reader.read(message('mono16', np.where(GREY > 100, 4000, 512)), 10)
    assert np.unique(image).tolist() == [128, 255]
    assert 'camera.bit_depth = 10' in reader.warning
    reader.read(message('mono16', np.full((HEIGHT, WIDTH), 512)), 10)
    assert not reader.warning


@pytest.mark.parametrize('make', [message, lambda encoding, samples: compressed(samples, encoding)])
@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize(('centre', 'gain'), [(7000, 2), (30000, 1), (30000, 20), (14500, 8)])
def test_thermal_images_are_stretched(encoding, centre, gain, make):
    samples = (centre + gain * (GREY.astype(int) - 128)).astype(np.uint16)
    samples[3, 5] = 0  # a dead pixel
    reader = ImageReader()
    image = reader.read(make(encoding, samples))[..., 0]
    assert image.min() == 0
    assert image.max() == 255
    assert np.corrcoef(image.ravel(), GREY.ravel())[0, 1] > 0.99
    assert 'thermal' in reader.bit_depth
    assert not reader.warning


def depth_image(holes):
    distances = np.linspace(600, 5000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    distances[:holes, :10] = 0
    return distances


@pytest.mark.parametrize('make', [message, lambda encoding, samples: compressed(samples, encoding)])
@pytest.mark.parametrize('holes', [0, 10])
def test_depth_is_warned_of_by_name(holes, make):
    reader = ImageReader()
    reader.read(make('16UC1', depth_image(holes)))
    assert 'depth' in reader.warning
    reader.read(make('16UC1', depth_image(holes)), 13)
    assert not reader.warning, 'the user has said that it is brightness'


def test_depth_is_known_by_the_name_of_its_frame():
    reader = ImageReader()
    flat = np.full((HEIGHT, WIDTH), 2000) + GREY
    reader.read(message('16UC1', flat, frame_id='camera_depth_optical_frame'))
    assert 'depth' in reader.warning
    reader.read(message('mono16', flat, frame_id='camera_depth_optical_frame'))
    assert not reader.warning


@pytest.mark.parametrize('value', [0, 200, 7000, 30000])
def test_an_image_without_contrast_is_neither_stretched_nor_called_depth(value):
    reader = ImageReader()
    image = reader.read(message('16UC1', np.full((HEIGHT, WIDTH), value)))
    assert np.ptp(image) == 0
    assert not reader.warning


@pytest.mark.parametrize('bit_depth', [10, 12, 14, 16])
def test_grey_in_16uc1_is_not_called_depth(bit_depth):
    reader = ImageReader()
    reader.read(message('16UC1', GREY.astype(np.uint16) << (bit_depth - 8)))
    assert not reader.warning


@pytest.mark.parametrize('encoding', ['32FC1', '64FC1', '16SC1', '32SC1'])
def test_measured_values_are_refused_by_name(encoding):
    msg = Image(height=2, width=2, encoding=encoding, step=16)
    msg.data = array.array('B', bytes(32))
    with pytest.raises(ImageError, match=rf"'{encoding}'.*depth"):
        image_of(msg)


@given(
    st.sampled_from(['mono16', '16UC1', 'rgb16']),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(0, 16).filter(lambda depth: depth == 0 or depth >= 8),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_any_samples_become_an_image(encoding, one, other, bit_depth, height, width):
    rng = np.random.default_rng(one)
    samples = rng.integers(
        min(one, other), max(one, other) + 1, (height, width, CHANNELS[encoding]), np.uint16
    )
    image = SampleScaler(encoding)(samples, bit_depth)
    assert (image.shape, image.dtype) == (samples.shape, np.uint8)
    flat, order = samples.ravel(), np.argsort(samples.ravel())
    assert (np.diff(image.ravel()[order].astype(int)) >= 0).all(), f'not monotone: {flat}'
