"""Serialized image messages against the deserializers of rclpy and rosbags."""

import array
import os
from random import Random
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from seg_ros.errors import ImageError
from seg_ros.images.serialized import MAX_TEXT_BYTES, read_compressed_image, read_image

ROSBAGS = get_typestore(Stores.LATEST)
FIELDS = ('height', 'width', 'encoding', 'is_bigendian', 'step')


def header(seconds: int, nanoseconds: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def image(frame_id: str = 'camera', encoding: str = 'rgb8', n_bytes: int = 24, **fields: Any) -> Image:
    message = Image(header=header(12, 345, frame_id), height=2, width=4, encoding=encoding, step=12, **fields)
    message.data = array.array('B', os.urandom(n_bytes))
    return message


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd', 'Kamera/ü/前'])
@pytest.mark.parametrize('encoding', ['rgb8', 'mono16', 'bayer_rggb8', ''])
def test_images_are_those_of_rclpy(frame_id: str, encoding: str) -> None:
    for n_bytes in (0, 1, 24):  # fields are aligned behind texts of every length
        sent = image(frame_id, encoding, n_bytes, is_bigendian=1)
        got = read_image(serialize_message(sent), header)
        assert got.header == sent.header
        assert [getattr(got, name) for name in FIELDS] == [getattr(sent, name) for name in FIELDS]
        assert bytes(got.data) == sent.data.tobytes()


@pytest.mark.parametrize('text', ['jpeg', 'rgb8; png compressed ', ''])
def test_compressed_images_are_those_of_rclpy(text: str) -> None:
    sent = CompressedImage(header=header(-1, 2**32 - 1, 'x'), format=text, data=array.array('B', b'12345'))
    got = read_compressed_image(serialize_message(sent), header)
    assert (got.header, got.format, bytes(got.data)) == (sent.header, text, b'12345')


@pytest.mark.parametrize('little_endian', [True, False])
def test_both_byte_orders_of_another_implementation(little_endian: bool) -> None:
    types = ROSBAGS.types
    stamp = types['builtin_interfaces/msg/Time'](sec=7, nanosec=8)
    data = types['sensor_msgs/msg/Image'](
        header=types['std_msgs/msg/Header'](stamp=stamp, frame_id='eye'),
        height=300,
        width=1,
        encoding='mono8',
        is_bigendian=0,
        step=1,
        data=ROSBAGS.deserialize_cdr(serialize_message(image(n_bytes=300)), 'sensor_msgs/msg/Image').data,
    )
    payload = bytes(ROSBAGS.serialize_cdr(data, 'sensor_msgs/msg/Image', little_endian=little_endian))
    got = read_image(payload, header)
    assert (got.header, got.height, got.encoding) == (header(7, 8, 'eye'), 300, 'mono8')
    assert bytes(got.data) == data.data.tobytes()


def test_every_cut_is_told_and_bytes_behind_are_ignored() -> None:
    payload = serialize_message(image())
    for length in range(len(payload)):
        with pytest.raises(ImageError, match=f'{length} bytes is not a sensor_msgs/msg/Image'):
            read_image(payload[:length], header)
    assert read_image(payload + b'xyz', header) == read_image(payload, header)


def test_other_messages_are_told() -> None:
    with pytest.raises(ImageError, match='ends before its field nanosec'):
        read_image(serialize_message(String(data='')), header)
    with pytest.raises(ImageError, match='frame_id should have 1701322796 bytes, but'):
        read_image(serialize_message(String(data='well, hello to everybody here')), header)
    for start in (b'\0\2', b'\0\3', b'\0\x0b', b'\x77\n'):
        with pytest.raises(ImageError, match=f"begins with '{start.hex()}'"):
            read_image(start + serialize_message(image())[2:], header)


def test_texts_are_bounded() -> None:
    read_image(serialize_message(image('x' * (MAX_TEXT_BYTES - 1))), header)
    with pytest.raises(ImageError, match=f'frame_id has {MAX_TEXT_BYTES + 1} bytes'):
        read_image(serialize_message(image('x' * MAX_TEXT_BYTES)), header)


def refusal(payload: bytes) -> str:
    try:
        assert len(read_image(payload, header).data) <= len(payload)
    except ImageError as err:
        return str(err)
    return ''


def test_changed_bytes_are_read_or_told() -> None:
    random, payload = Random(1), serialize_message(image())
    n_refused = 0
    for _ in range(3000):
        changed = bytearray(payload)
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(len(changed))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
        reason = refusal(bytes(changed))
        assert reason.isprintable()
        n_refused += bool(reason)
    assert 300 < n_refused < 3000
