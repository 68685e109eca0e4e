"""Measures a camera through the node: frames received, their age, and the time added to that of the network.

Three processes, as on a robot: this one publishes rgb8 frames at a steady rate, the node segments them, and a
third receives labels, or segments with their codes. Afterwards two measurements alternate, at a rate at which
no frame waits for another: the camera publishes, and the bare backend runs the same frames in this process.
The median difference is the time that the node adds. Run it when nothing else runs:

    python benchmarks/stream.py --seconds 60 --backend torch_compile --json out.json
"""

import argparse
import json
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.arrays import UInt8Array
from seg_ros.cli.options import add_model_arguments, settings_from
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import parameters_from
from seg_ros.msg import SegmentCodeArray
from seg_ros.replay.node_process import NodeProcess
from seg_ros.ros.dds import large_image_transport, local_domain, reserved_domain
from seg_ros.ros.messages import message_from_image
from seg_ros.synthetic import RenderedDrive

Times = npt.NDArray[np.float64]

_TURNS, _TURN_S, _TURN_RATE_HZ = 8, 4.0, 10.0

KINDS: dict[str, Any] = {'labels': Image, 'segments': SegmentCodeArray}


def receive(connection: Connection, topic: str) -> None:
    """Receive messages. Send their ages, in milliseconds, for each True on the connection; end on False."""
    rclpy.init()
    node = rclpy.create_node('receiver')
    ages: list[float] = []

    def on_message(message: Any) -> None:
        stamp = message.header.stamp
        ages.append(1e3 * time.time() - (1e3 * stamp.sec + 1e-6 * stamp.nanosec))

    node.create_subscription(KINDS[topic], f'/seg_ros/{topic}', on_message, qos_profile_sensor_data)
    goes_on = True
    while goes_on:
        rclpy.spin_once(node, timeout_sec=0.1)
        if connection.poll():
            goes_on = connection.recv()
            connection.send(np.array(ages))
            ages.clear()
    rclpy.try_shutdown()


def change_state(node: Node, transition: int) -> None:
    """Request a transition of the segmentation node."""
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
    """Processor time used so far, in seconds, and resident memory, in MB, of a process."""
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
    """Times of the node's stages, from its diagnostics."""
    values: dict[str, str] = {}

    def on_diagnostics(message: DiagnosticArray) -> None:
        values.update({v.key: v.value for v in message.status[0].values if v.key.endswith('_ms')})

    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 1)
    until = time.monotonic() + 5
    while not values and time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.1)
    return values


def bare_network(segmenter: Segmenter, frames: list[UInt8Array], rate_hz: float, n_frames: int) -> Times:
    """Times of the backend alone, in milliseconds, on the same frames at the same pace."""
    inputs = [segmenter.resize(frame)[None] for frame in frames]
    times = []
    due = time.monotonic()
    for number in range(n_frames):
        time.sleep(max(due - time.monotonic(), 0))
        due += 1 / rate_hz
        started = time.perf_counter()
        segmenter.backend(inputs[number % len(inputs)])
        times.append(1e3 * (time.perf_counter() - started))
    return np.array(times)


class Stream:
    """Camera and receiver of frames that go through the node.

    Args:
        frames: Frames of the camera, (H, W, 3) uint8 RGB, which repeat.
        topic: Topic that is received: 'labels' or 'segments'.
    """

    def __init__(self, frames: list[UInt8Array], topic: str) -> None:
        self._frames = frames
        self.node = rclpy.create_node('camera')
        spawn = multiprocessing.get_context('spawn')
        self._connection, there = spawn.Pipe()
        self._receiver = spawn.Process(target=receive, args=(there, topic), daemon=True)

    def start(self) -> None:
        """Activate the node, then start to receive."""
        change_state(self.node, Transition.TRANSITION_CONFIGURE)
        change_state(self.node, Transition.TRANSITION_ACTIVATE)
        self._receiver.start()
        time.sleep(5)

    def publish(self, rate_hz: float, n_frames: int) -> None:
        publish(self.node, self._frames, rate_hz, n_frames)

    def ages_ms(self, rate_hz: float, n_frames: int) -> Times:
        """Publish frames and wait for the results; ages of the results, in milliseconds."""
        self.publish(rate_hz, n_frames)
        time.sleep(0.5)
        self._connection.send(True)
        ages: Times = self._connection.recv()
        return ages

    def stop(self) -> None:
        self._connection.send(False)
        self._receiver.join()


def steady_stream(stream: Stream, pid: int, rate_hz: float, seconds: float) -> dict[str, Any]:
    """Frames, ages, memory and processor time of the node at a steady rate."""
    n_frames = round(seconds * rate_hz)
    stream.ages_ms(rate_hz, round(5 * rate_hz))  # memory settles
    cpu_before, memory_before = resources_of(pid)
    started = time.monotonic()
    ages = stream.ages_ms(rate_hz, n_frames)
    passed_s = time.monotonic() - started
    cpu_after, memory_after = resources_of(pid)
    return {
        'frames': {'published': n_frames, 'received': len(ages), 'lost': n_frames - len(ages)},
        'age_ms': {f'p{q}': float(np.percentile(ages, q)) for q in (50, 99)},
        'memory_mb': memory_after,
        'memory_growth_mb': memory_after - memory_before,
        'cpu_cores': (cpu_after - cpu_before) / passed_s,
    }


def added_time(stream: Stream, segmenter: Segmenter, frames: list[UInt8Array]) -> dict[str, Any]:
    """Time that the node adds to the network; the two are measured alternately."""
    n_frames = round(_TURN_S * _TURN_RATE_HZ)
    in_node, bare = [], []
    for _ in range(_TURNS):
        in_node.append(np.median(stream.ages_ms(_TURN_RATE_HZ, n_frames)))
        bare.append(np.median(bare_network(segmenter, frames, _TURN_RATE_HZ, n_frames)))
    return {
        'age_in_turns_ms': float(np.median(in_node)),
        'network_in_turns_ms': float(np.median(bare)),
        'added_ms': float(np.median(np.subtract(in_node, bare))),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures of the whole benchmark."""
    settings = settings_from(arguments)
    drive = RenderedDrive(23, 20, *arguments.size)
    frames = [drive[index][0] for index in range(len(drive))]
    rclpy.init()
    stream = Stream(frames, arguments.topic)
    segmenter = Segmenter.load(settings)
    with NodeProcess(parameters_from(settings), {'image': '/image'}) as process:
        assert process.pid is not None
        stream.start()
        figures = {
            **segmenter.as_json(),
            'topic': arguments.topic,
            **steady_stream(stream, process.pid, arguments.rate_hz, arguments.seconds),
            **added_time(stream, segmenter, frames),
        }
        stream.publish(_TURN_RATE_HZ, 30)
        figures['stages'] = stages(stream.node)
        stream.stop()
    rclpy.try_shutdown()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60, help='duration of the stream')
    parser.add_argument('--rate-hz', type=float, default=30, help='rate of the camera')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(480, 640), metavar=('H', 'W'), help='size of the frames'
    )
    parser.add_argument('--topic', choices=KINDS, default='labels', help='topic that is received')
    parser.add_argument('--json', type=Path, help='JSON file for the figures')
    add_model_arguments(parser)
    arguments = parser.parse_args()
    with reserved_domain() as domain:
        os.environ.update(local_domain(domain) | large_image_transport(os.environ))  # of all three processes
        report = json.dumps(measure(arguments), indent=2)
    print(report)
    if arguments.json:
        arguments.json.write_text(report + '\n')


if __name__ == '__main__':
    main()
