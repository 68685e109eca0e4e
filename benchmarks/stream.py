"""A camera through the node: what arrives, how old it is, and what the node adds to the bare network.

Three processes, as on a robot: this one publishes rgb8 frames at a steady rate, the node segments them, a
third receives labels. Then the bare backend runs the same frames at the same pace in this process; the node's
share is the difference. Run it when nothing else runs:

    python benchmarks/stream.py --seconds 60 --backend torch_compile --json out.json
"""

import argparse
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.image import resize_image
from seg_ros.model_arguments import add_model_arguments, parameters_from, settings_from
from seg_ros.pipeline import Pipeline
from seg_ros.rendered import RenderedDrive
from seg_ros.ros.conversions import message_from_image
from seg_ros.ros.node_process import NodeProcess, keep_to_ourselves, use_large_image_transport
from seg_ros.types import UInt8Array

Times = npt.NDArray[np.float64]


def receive(queue: 'multiprocessing.Queue[list[float]]', stop: 'threading.Event') -> None:
    """Count labels, and how old each is on arrival, until told to stop."""
    rclpy.init()
    node = rclpy.create_node('receiver')
    ages: list[float] = []

    def on_labels(message: Image) -> None:
        stamp = message.header.stamp
        ages.append(1e3 * time.time() - (1e3 * stamp.sec + 1e-6 * stamp.nanosec))

    node.create_subscription(Image, '/seg_ros/labels', on_labels, qos_profile_sensor_data)
    while not stop.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    queue.put(ages)
    rclpy.try_shutdown()


def change_state(node: Node, transition: int) -> None:
    """Drive the lifecycle of the segmentation node."""
    client = node.create_client(ChangeState, '/seg_ros/change_state')
    if not client.wait_for_service(60):
        raise SystemExit('the node does not answer')
    request = ChangeState.Request()
    request.transition.id = transition
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=300)
    if not future.done() or not future.result().success:
        raise SystemExit('the node refused a transition')


def resources_of(pid: int) -> tuple[float, float]:
    """Seconds of processor time used so far, and resident memory in MB, of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return ticks / os.sysconf('SC_CLK_TCK'), pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def publish(node: Node, frames: list[UInt8Array], rate_hz: float, n_frames: int) -> None:
    """Publish frames with the wall clock as stamp, at a steady rate."""
    publisher = node.create_publisher(Image, '/image', qos_profile_sensor_data)
    messages = [message_from_image(frame, 'rgb8', Header(frame_id='camera')) for frame in frames]
    while not publisher.get_subscription_count():
        rclpy.spin_once(node, timeout_sec=0.1)
    due = time.monotonic()
    for number in range(n_frames):
        time.sleep(max(due - time.monotonic(), 0))
        due += 1 / rate_hz
        message = messages[number % len(messages)]
        now = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)
        publisher.publish(message)


def stages(node: Node) -> dict[str, str]:
    """Times of the node's steps, from its diagnostics."""
    values: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        values.update({v.key: v.value for v in message.status[0].values if v.key.endswith('_ms')})

    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 1)
    until = time.monotonic() + 5
    while not values and time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.1)
    return values


def bare_network(pipeline: Pipeline, frames: list[UInt8Array], rate_hz: float, n_frames: int) -> Times:
    """Milliseconds of the backend alone, on the same frames at the same pace."""
    resized = [resize_image(frame, *pipeline.input_size).copy() for frame in frames]
    inputs = [torch.from_numpy(image)[None] for image in resized]
    times = []
    due = time.monotonic()
    for number in range(n_frames):
        time.sleep(max(due - time.monotonic(), 0))
        due += 1 / rate_hz
        started = time.perf_counter()
        pipeline.backend(inputs[number % len(inputs)])
        times.append(1e3 * (time.perf_counter() - started))
    return np.array(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--rate-hz', type=float, default=30)
    parser.add_argument('--size', type=int, nargs=2, default=(480, 640), metavar=('H', 'W'))
    parser.add_argument('--json', type=Path)
    add_model_arguments(parser)
    arguments = parser.parse_args()
    settings = settings_from(arguments)
    keep_to_ourselves(None)
    use_large_image_transport()
    drive = RenderedDrive(23, 20, *arguments.size)
    frames = [drive[index][0] for index in range(len(drive))]
    n_frames = round(arguments.seconds * arguments.rate_hz)

    spawn = multiprocessing.get_context('spawn')
    queue, stop = spawn.Queue(), spawn.Event()
    receiver = spawn.Process(target=receive, args=(queue, stop))
    rclpy.init()
    node = rclpy.create_node('camera')
    with NodeProcess(parameters_from(settings), {'image': '/image'}) as process:
        change_state(node, Transition.TRANSITION_CONFIGURE)
        change_state(node, Transition.TRANSITION_ACTIVATE)
        receiver.start()
        time.sleep(5)
        assert process.pid is not None
        publish(node, frames, arguments.rate_hz, round(5 * arguments.rate_hz))  # memory settles
        cpu_before, memory_before = resources_of(process.pid)
        started = time.monotonic()
        publish(node, frames, arguments.rate_hz, n_frames)
        steps = stages(node)
        seconds = time.monotonic() - started
        cpu_after, memory_after = resources_of(process.pid)
        stop.set()
        ages = np.array(queue.get(timeout=10)[-n_frames:])
        receiver.join()
    rclpy.try_shutdown()
    pipeline = Pipeline.load(settings)
    bare = bare_network(pipeline, frames, arguments.rate_hz, min(n_frames, 600))
    report = {
        **pipeline.as_json(),
        'frames': {'published': n_frames, 'received': len(ages), 'lost': n_frames - len(ages)},
        'age_ms': {f'p{q}': float(np.percentile(ages, q)) for q in (50, 99)},
        'network_ms': {f'p{q}': float(np.percentile(bare, q)) for q in (50, 99)},
        'added_ms': float(np.median(ages) - np.median(bare)),
        'stages': steps,
        'memory_mb': memory_after,
        'memory_growth_mb': memory_after - memory_before,
        'cpu_cores': (cpu_after - cpu_before) / seconds,
    }
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
