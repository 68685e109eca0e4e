"""A camera whose process has no transport for large messages: most of its frames are lost on the way."""

import os
import subprocess
import sys
from typing import Any

import pytest

CAMERA = """
import array
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

rclpy.init()
node = Node('camera')
qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
publisher = node.create_publisher(Image, '/image', qos)
message = Image(height=480, width=640, encoding='rgb8', step=1920, data=array.array('B', bytes(921600)))
while True:
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)
    time.sleep(0.05)
"""


@pytest.mark.skipif(
    os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp',
    reason='frames are lost in the shared memory of Fast DDS',
)
def test_frames_lost_on_the_way_are_told_with_the_page_to_read(robot: Any) -> None:
    robot.start_active(input_reliability='best_effort')
    environment = {k: v for k, v in os.environ.items() if not k.endswith('_DEFAULT_PROFILES_FILE')}
    with subprocess.Popen([sys.executable, '-c', CAMERA], env=environment) as camera:
        try:
            robot.wait(lambda: robot.says('frames lost on the way'))
        finally:
            camera.kill()
    assert robot.says('docs/transport.md')
    assert int(robot.values()['frames_lost']) >= 3
