"""Plays nav2's lifecycle manager towards a bond of seg_ros, and prints what it saw as JSON."""

import json
import time
from collections.abc import Callable

import rclpy
from bond.msg import Status
from rclpy.executors import SingleThreadedExecutor

from seg_ros.ros.bond import Bond

rclpy.init()
node = rclpy.create_node('eyes', namespace='front')
manager = rclpy.create_node('manager', namespace='front')
executor = SingleThreadedExecutor()
executor.add_node(node)
executor.add_node(manager)
received: list[tuple[float, Status]] = []


def take(status: Status) -> None:
    if status.instance_id not in ('manager', 'second'):
        received.append((time.monotonic(), status))


manager.create_subscription(Status, 'bond', take, 10)
publisher = manager.create_publisher(Status, 'bond', 10)


def spin(is_done: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while not is_done() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    return is_done()


def say(instance: str, active: bool) -> None:
    received.clear()
    publisher.publish(Status(id='eyes', instance_id=instance, active=active))


bond = Bond(node, period_s=0.1)
spin(lambda: len(received) >= 20)
times = [at for at, _ in received[4:]]
seen = {
    'topics': sorted(name for name, types in node.get_topic_names_and_types() if 'bond/msg/Status' in types),
    'id': received[0][1].id,
    'period_s': (times[-1] - times[0]) / (len(times) - 1),
}
say('manager', False)
seen['is_acknowledged'] = spin(lambda: any(not status.active for _, status in received))
received.clear()
seen['beats_after_the_manager_left'] = spin(lambda: bool(received), 0.5)
say('second', True)
seen['beats_for_another_manager'] = spin(lambda: any(status.active for _, status in received))
received.clear()
bond.close()
spin(lambda: bool(received) and not received[-1][1].active)
seen['after_close'] = received[-1][1].active
without = Bond(node, period_s=0.0)
without.close()
seen['publishers_with_period_0'] = sum(
    info.node_name == 'eyes' for info in node.get_publishers_info_by_topic('/front/bond')
)
print(json.dumps(seen))
rclpy.shutdown()
