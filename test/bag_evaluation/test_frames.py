"""Frames of a topic do not depend on the part of the bag that is read."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_ros.bag_evaluation.frames import FrameIndex, index_frames
from seg_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, message_types
from seg_ros.bags.writer import BagWriter

SECOND = 1_000_000_000
RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)


def wide(largest: int, smallest: int = 0) -> np.ndarray:
    """A grey image of 16 bits with all values from the smallest to the largest."""
    return (smallest + RAMP * (largest - smallest)).round().astype(np.uint16)


def write(path: Path, images: Sequence[np.ndarray], format_: str = '') -> FrameIndex:
    """A bag of grey images, raw or as PNG files of a format; returns its index."""
    types = message_types()
    with BagWriter(path, overwrite=True) as bag:
        for number, image in enumerate(images, 1):
            time = types.types['builtin_interfaces/msg/Time'](sec=number, nanosec=0)
            header = types.types['std_msgs/msg/Header'](stamp=time, frame_id='')
            if format_:
                data = cv2.imencode('.png', image)[1].reshape(-1)
                content = types.types[COMPRESSED_IMAGE](header=header, format=format_, data=data)
            else:
                height, width = image.shape
                content = types.types[IMAGE](
                    header=header,
                    height=height,
                    width=width,
                    encoding='mono8' if image.dtype == np.uint8 else 'mono16',
                    is_bigendian=0,
                    step=image[0].nbytes,
                    data=image.reshape(-1).view(np.uint8),
                )
            kind = COMPRESSED_IMAGE if format_ else IMAGE
            bag.write('/camera', kind, bytes(types.serialize_cdr(content, kind)), number * SECOND)
    return index_frames(path)


def images_of(frames: FrameIndex, start: int = 0, only: Sequence[int] | None = None) -> list[np.ndarray]:
    """Grey images of frames."""
    found = [frame.image for frame in frames.frames(start, only=only)]
    assert all(image is not None for image in found)
    return [image[..., 0] for image in found if image is not None]


def assert_same_in_parts(frames: FrameIndex) -> None:
    whole = images_of(frames)
    for start in range(frames.n_frames):
        np.testing.assert_array_equal(images_of(frames, start), whole[start:])
        np.testing.assert_array_equal(images_of(frames, only=[start])[0], whole[start])


@pytest.mark.parametrize('format_', ['', 'png', 'mono16; png compressed '])
@pytest.mark.parametrize('place', [0, 2, 4])
def test_the_depth_is_that_of_the_whole_topic(tmp_path: Path, format_: str, place: int) -> None:
    images = [wide(4095 if k == place else 200) for k in range(5)]
    frames = write(tmp_path / 'bag.mcap', images, format_)
    np.testing.assert_array_equal(images_of(frames), [image >> 4 for image in images])
    assert_same_in_parts(frames)


@pytest.mark.parametrize('format_', ['', 'png'])
def test_narrow_frames_before_wide_ones(tmp_path: Path, format_: str) -> None:
    narrow = wide(255).astype(np.uint8)
    images = [narrow, narrow, wide(200), wide(4000), narrow, wide(200)]
    frames = write(tmp_path / 'bag.mcap', images, format_)
    expected = [image if image.dtype == np.uint8 else image >> 4 for image in images]
    np.testing.assert_array_equal(images_of(frames), expected)
    assert frames.size == (48, 64)
    assert frames.encoding == (format_ or 'mono8')
    assert_same_in_parts(frames)


def test_narrow_bands_of_thermal_cameras(tmp_path: Path) -> None:
    """A band of 0.6 is stretched only after one of 0.8, until one of 0.3 comes."""
    bands = [wide(10_000, round(10_000 * low)) for low in (0.6, 0.8, 0.6, 0.6, 0.3, 0.6)]
    frames = write(tmp_path / 'bag.mcap', bands)
    largest = [int(image.max()) for image in images_of(frames)]
    shifted = 10_000 >> 6
    assert largest == [shifted, 255, 255, 255, shifted, shifted]
    assert_same_in_parts(frames)
