"""Diagnostics tell what is odd about frames that are segmented nevertheless."""

import logging
import sys
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.msg import SegmentCodeArray
from seg_ros.ros.messages import label_info_type
from seg_ros.segments.rules import MAX_SUPERPIXELS
from seg_ros.srv import FindSimilar

SECOND = 1_000_000_000
GREY = np.add.outer(np.arange(90) * 2, np.arange(120))


def test_samples_and_stamps_are_told(robot: Any) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, '/seg_ros/labels'), robot.camera()

    def publish(pixels: Any, stamp_ns: int) -> None:
        n_before = len(labels)
        camera.publish(robot.message(pixels.astype(np.uint16), stamp_ns, '16UC1'))
        robot.wait(lambda: len(labels) > n_before)

    now = robot.peer.get_clock().now().nanoseconds
    publish(3 * GREY, now)
    robot.wait(lambda: robot.values().get('bit_depth') == '10' and 'age_p50_ms' in robot.values())
    assert not robot.says('stamp')
    assert float(robot.values()['age_p50_ms']) < 20_000
    publish(700 + 10 * GREY, now - 3 * 3600 * SECOND)
    robot.wait(lambda: robot.says('depth') and robot.says('3 hours behind') and robot.says(' Hz'))
    assert float(robot.values()['age_p99_ms']) < 20_000, 'the age of nonsense is not counted'
    assert robot.set('camera.bit_depth', 13) == ''
    publish(700 + 10 * GREY, 0)
    robot.wait(lambda: robot.values().get('bit_depth') == '13' and robot.says('no stamp'))
    assert not robot.says('depth')


def test_bounds_of_segments_are_told(robot: Any, coded_model_file: Any) -> None:
    robot.start_active(
        model=str(coded_model_file),
        **{'segments.region_size': 2, 'segments.max_count': 2, 'segments.merge_limit': 0.0},
        input_height=384,
        input_width=512,
    )
    arrays, camera = robot.listen(SegmentCodeArray, '/seg_ros/segments'), robot.camera()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    message = robot.message(noise, 3 * SECOND)
    message.header.stamp.sec, message.header.stamp.nanosec = 2**31 - 1, 2**32 - 1
    camera.publish(message)
    robot.wait(lambda: arrays)
    robot.wait(
        lambda: robot.says(f'more than {MAX_SUPERPIXELS} superpixels') and robot.says('the 2 largest of')
    )
    assert len(arrays[0].segments) == 2
    request = FindSimilar.Request(segment_id=1, radius=0, max_count=1)
    answer = robot.call(FindSimilar, '/seg_ros/find_similar', request)
    assert answer.sightings[0].stamp.sec == 2**31 - 1, 'the stamp is beyond the largest one'


def test_labels_of_a_model_without_classes_are_told(robot: Any) -> None:
    robot.start_active(model='segments', input_height=96, input_width=128)
    labels, camera = robot.listen(Image, '/seg_ros/labels'), robot.camera()
    camera.publish(robot.message(np.zeros((90, 120, 3), np.uint8), 3 * SECOND))
    robot.wait(lambda: labels and robot.says('no classes') and robot.says('~/labels'))
    assert set(labels[0].data) == {255}


def test_missing_label_messages_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, 'vision_msgs', None)
    monkeypatch.setitem(sys.modules, 'vision_msgs.msg', None)
    caplog.set_level(logging.INFO, 'seg_ros')
    assert label_info_type() is None
    assert 'vision_msgs is not installed' in caplog.text
    assert '~/label_info' in caplog.text
