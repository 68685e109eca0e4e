"""Prints vision_msgs/LabelInfo of a node as JSON, sets the threshold to 0.5, and prints what then comes."""

import json
import time
from collections.abc import Callable

import rclpy
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import LabelInfo

rclpy.init()
node = rclpy.create_node('listener')
received: list[LabelInfo] = []
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
node.create_subscription(LabelInfo, '/seg_ros/label_info', received.append, latched)
client = node.create_client(SetParameters, '/seg_ros/set_parameters')


def wait(is_done: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not is_done() and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)


wait(lambda: bool(received) and client.service_is_ready())
threshold = Parameter('confidence_threshold', value=0.5).to_parameter_msg()
client.call_async(SetParameters.Request(parameters=[threshold]))
wait(lambda: received[-1].threshold == 0.5)
for message in received:
    classes = [[c.class_id, c.class_name] for c in message.class_map]
    print(json.dumps({'classes': classes, 'threshold': message.threshold}))
