"""The surroundings of the node in a soak: a camera, an operator, and a watch on the node's process."""

import os
import re
import subprocess
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.arrays import UInt8Array
from seg_ros.msg import SegmentCodeArray

InvalidHandle: type[Exception] = rclpy_implementation.InvalidHandle
RATE_HZ = 30.0
TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'cleanup': Transition.TRANSITION_CLEANUP,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
}
_ANSWER_S = 240.0


class Sample(NamedTuple):
    """Resources of the node's process.

    Attributes:
        at_s: Time of a steady clock, in seconds.
        memory_mb: Resident memory.
        n_threads: Number of threads.
        n_files: Number of open file descriptors.
    """

    at_s: float
    memory_mb: float
    n_threads: int
    n_files: int


class NodeUnderTest:
    """The process of the node.

    Args:
        folder: Folder for caches, logs and the control file.
        parameters: Words of the command line behind ``--ros-args``.
    """

    def __init__(self, folder: Path, parameters: list[str]) -> None:
        self.control = folder / 'fault'
        self.log = folder / 'node.log'
        script = Path(__file__).with_name('node_with_faults.py')
        environment = {**os.environ, 'XDG_CACHE_HOME': str(folder / 'cache'), 'PYTHONUNBUFFERED': '1'}
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script), str(self.control), '--ros-args', *parameters],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def sample(self) -> Sample:
        """Resources now."""
        folder = Path('/proc', str(self.process.pid))
        status = dict(line.split(':', 1) for line in (folder / 'status').read_text().splitlines())
        memory_mb = int(status['VmRSS'].split()[0]) / 1024
        return Sample(
            time.monotonic(), memory_mb, int(status['Threads']), len(list((folder / 'fd').iterdir()))
        )

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def __enter__(self) -> 'NodeUnderTest':
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


class Robot:
    """Publishes frames at 30 Hz, and listens to labels and diagnostics.

    Args:
        images: Good images, (H, W, 3) uint8 RGB.
        with_segments: Whether somebody subscribes to segments, too.

    Attributes:
        make: Returns the message to publish next, or None for no message; faults replace it.
        labels: Times of a steady clock at which labels came, with their stamps.
        texts: Diagnostic messages with the times at which they came.
    """

    def __init__(self, images: list[UInt8Array], *, with_segments: bool = True) -> None:
        rclpy.init()
        self.node = rclpy.create_node('soak')
        self._images, self._number = images, 0
        self.make: Callable[[], Image | None] = self.good
        self.labels: deque[tuple[float, int]] = deque(maxlen=10_000)
        self.texts: deque[tuple[float, str]] = deque(maxlen=10_000)
        self.values: dict[str, str] = {}
        self._listen(with_segments=with_segments)
        self.camera = self.node.create_publisher(Image, '/image', qos_profile_sensor_data)
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._spin, self._publish)]
        for thread in self._threads:
            thread.start()

    def good(self) -> Image:
        """A good frame, stamped now."""
        self._number += 1
        return self.message(self._images[self._number % len(self._images)])

    def message(self, image: Any, encoding: str = 'rgb8', stamp_ns: int | None = None) -> Image:
        """An image message.

        Args:
            image: (H, W, ...) array that the encoding fits.
            encoding: Encoding.
            stamp_ns: Stamp; None = now.
        """
        header = Header(frame_id='camera')
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        height, width = image.shape[:2]
        message = Image(header=header, encoding=encoding, height=height, width=width, step=image[0].nbytes)
        message.data = array('B', image.tobytes())
        return message

    def _listen(self, *, with_segments: bool) -> None:
        self.node.create_subscription(Image, '/seg_ros/labels', self._on_labels, 5)
        if with_segments:
            self.node.create_subscription(SegmentCodeArray, '/seg_ros/segments', lambda _: None, 5)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def set(self, name: str, value: Any) -> str | None:
        """Set a parameter; returns the reason of a refusal, '' for none, None without an answer."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        answer = self.call(
            SetParameters, '/seg_ros/set_parameters', SetParameters.Request(parameters=[parameter])
        )
        return str(answer.results[0].reason) if answer else None

    def change_state(self, name: str) -> bool | None:
        """Ask for a transition; None without an answer."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        answer = self.call(ChangeState, '/seg_ros/change_state', request)
        return bool(answer.success) if answer else None

    def state(self) -> str:
        """Lifecycle state; '' without an answer."""
        answer = self.call(GetState, '/seg_ros/get_state', GetState.Request())
        return str(answer.current_state.label) if answer else ''

    def call(self, kind: Any, service: str, request: Any, timeout_s: float = _ANSWER_S) -> Any:
        """Call a service of the node; None if no answer comes."""
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self.node.create_client(kind, service)
        if not client.wait_for_service(timeout_s):
            return None
        has_come = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: has_come.set())
        return future.result() if has_come.wait(timeout_s) else None

    def said_since(self, at_s: float, pattern: str) -> bool:
        """Whether a diagnostic message since a time matches a pattern."""
        return any(time_s >= at_s and re.search(pattern, text) for time_s, text in list(self.texts))

    def wait_for_labels(self, since_ns: int, timeout_s: float) -> float | None:
        """Wait for labels of a frame stamped since a time; returns the seconds, None if none come."""
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            if self.labels and self.labels[-1][1] >= since_ns:
                return self.labels[-1][0] - started
            time.sleep(0.005)
        return None

    @contextmanager
    def frames(self, make: Callable[[], Image | None]) -> Iterator[None]:
        """Publish other frames for a while."""
        self.make = make
        try:
            yield
        finally:
            self.make = self.good

    def close(self) -> None:
        """End everything."""
        self._is_over.set()
        self._threads[1].join(1)
        rclpy.try_shutdown()

    def _on_labels(self, message: Image) -> None:
        self.labels.append(
            (time.monotonic(), message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.texts.append((time.monotonic(), status.message))
            self.values = {pair.key: pair.value for pair in status.values}

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while self.node.context.ok():
                with suppress(InvalidHandle):  # a subscription was destroyed while it was waited for
                    self._executor.spin()

    def _publish(self) -> None:
        due = time.monotonic()
        while not self._is_over.is_set():
            message, camera = self.make(), self.camera
            with suppress(InvalidHandle):  # a restart of the camera
                if message is not None:
                    camera.publish(message)
            due = max(due + 1 / RATE_HZ, time.monotonic() - 0.1)
            time.sleep(max(due - time.monotonic(), 0))
