"""Messages on the topics of the node that are not of their type: counted, named, and dropped."""

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from seg_ros.synthetic import RenderedDrive

PIXELS = RenderedDrive(7, 1, 90, 120)[0][0]
LABELS = '/seg_ros/labels'
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


def corrupt(good: bytes) -> list[bytes]:
    """Another message, cut ones, lengths of 4 GB, and a representation that does not exist."""
    return [
        serialize_message(String(data='no image at all, but long enough for a header')),
        good[:-10],  # fewer than 4 are filled up on the way
        good[: len(good) // 2],
        good[:4],
        good[:4] + b'\xff' * 200,
        good[:12] + b'\xff' * 4 + good[16:],
        b'\x77\x77' + good[2:],
        os.urandom(300),
    ]


def compressed(robot: Any, stamp: int) -> CompressedImage:
    file = cv2.imencode('.png', PIXELS[..., ::-1])[1].tobytes()
    message = CompressedImage(header=robot.message(PIXELS, stamp).header, format='png')
    message.data.frombytes(file)
    return message


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
@pytest.mark.parametrize('qos', ['reliable', 'best_effort'])
def test_bad_payloads_are_counted_and_named(robot: Any, transport: str, qos: str) -> None:
    robot.start_active(image_transport=transport)
    labels = robot.listen(Image, LABELS)
    kind, topic = (Image, '/image') if transport == 'raw' else (CompressedImage, '/image/compressed')
    make: Callable[[int], Any] = (
        (lambda stamp: robot.message(PIXELS, stamp))
        if transport == 'raw'
        else (lambda stamp: compressed(robot, stamp))
    )
    camera = robot.camera(topic, kind, robot.RELIABLE if qos == 'reliable' else BEST_EFFORT)
    camera.publish(make(1))
    robot.wait(lambda: len(labels) == 1)
    for number, payload in enumerate(corrupt(serialize_message(make(2))), start=1):
        camera.publish(payload)
        robot.wait(lambda number=number: robot.values()['dropped_bad'] == str(number))
        assert robot.says(f'bytes is not a sensor_msgs/msg/{kind.__name__}')
    camera.publish(serialize_message(make(3)))
    robot.wait(lambda: len(labels) == 2)
    assert labels[1].header == make(3).header
    np.testing.assert_array_equal(labels[0].data, labels[1].data)
    robot.wait(lambda: robot.values()['frames_in'] == str(1 + number + 1))


def test_a_bad_payload_does_not_take_the_place_of_a_frame(robot: Any) -> None:
    """The rate limit gives one frame in ten seconds, and the bad ones come first."""
    robot.start_active(max_rate_hz=0.1)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    for number in (1, 2):
        camera.publish(b'\0\1\0\0')
        robot.wait(lambda number=number: robot.values()['dropped_bad'] == str(number))
    camera.publish(robot.message(PIXELS, 5))
    robot.wait(lambda: labels)
    assert robot.values()['dropped_over_rate'] == '0'


def test_every_subscription_is_raw(robot: Any) -> None:
    """Fast DDS may never return from taking a message that it cannot deserialize."""
    node = robot.start_active(use_sim_time=True)
    topics = {s.topic_name: s.raw for s in node.subscriptions}
    assert {'/image', '/clock'} <= set(topics)
    assert all(topics.values())


def test_a_bad_clock(robot: Any, capfd: pytest.CaptureFixture[str]) -> None:
    node = robot.start_active(use_sim_time=True)
    clock = robot.camera('/clock', Clock, BEST_EFFORT)
    assert node.get_clock().now().nanoseconds == 0
    before_our_era = Clock()
    before_our_era.clock.sec = -5
    for payload in (b'', b'\0\1\0\0\1', os.urandom(7), serialize_message(before_our_era)):
        clock.publish(payload)
        robot.spin_for(0.1)
    good = Clock()
    good.clock.sec = 77
    clock.publish(good)
    robot.wait(lambda: node.get_clock().now().nanoseconds == 77 * 10**9)
    assert robot.state() == 'active'
    assert 'it is not a valid Clock' in capfd.readouterr().err
