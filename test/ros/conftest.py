import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.ros.messages import message_from_image
from seg_ros.ros.node import SegmentationNode

RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
    'shutdown': Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}


class Robot:
    """What surrounds the node on a robot: a camera, listeners and an operator, all through DDS."""

    RELIABLE, LATCHED = RELIABLE, LATCHED

    def __init__(self, model_file: Path, folder: Path) -> None:
        self._model_file, self.folder = model_file, folder
        self._stack = contextlib.ExitStack()
        context = self.context()
        self.peer = Node('peer', context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.peer)
        self._stack.callback(self.peer.destroy_node)
        self.node: Any = None
        self._clients: dict[str, Any] = {}
        self.diagnostics: list[DiagnosticArray] = []
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self.diagnostics.append, RELIABLE)

    def context(self) -> rclpy.Context:
        """One for each node: they shall meet through DDS only."""
        context = rclpy.Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        self._stack.callback(context.try_shutdown)
        return context

    def start(self, *, remap: tuple[str, ...] = (), **parameters: Any) -> SegmentationNode:
        """A node that is spun in a thread of its own; by default with the test's model."""
        given = {'model': str(self._model_file), 'backend': 'torch', 'device': 'cpu', **parameters}
        given = {'diagnostics_period_s': 0.1, 'model_folders': str(self.folder), **given}
        words = ['--ros-args', *(word for rule in remap for word in ('-r', rule))]
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        context = self.context()
        self.node = node = SegmentationNode(context=context, parameter_overrides=overrides, cli_args=words)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin)
        thread.start()

        def stop() -> None:
            executor.shutdown()
            thread.join()
            node.destroy_node()

        self._stack.callback(stop)
        return node

    def start_active(self, **how: Any) -> SegmentationNode:
        node = self.start(**how)
        assert self.change_state('configure')
        assert self.change_state('activate')
        return node

    def listen(self, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Messages as they come, from a topic that the node knows to be listened to."""
        received: list[Any] = []
        self.peer.create_subscription(kind, topic, received.append, qos)
        self.wait(lambda: self.node.count_subscribers(topic))
        self._settle()
        return received

    def camera(self, topic: str = '/image', kind: Any = Image, qos: QoSProfile = RELIABLE) -> Any:
        """A publisher that the node has found and adapted to."""
        publisher = self.publisher(kind, topic, qos)
        self.wait(lambda: self.node.count_publishers(topic) and publisher.get_subscription_count())
        self.wait(lambda: self.reliability_asked(topic) == [qos.reliability])
        self._settle()
        return publisher

    def reliability_asked(self, topic: str = '/image') -> list[ReliabilityPolicy]:
        """Of the node's subscription."""
        return [s.qos_profile.reliability for s in self.peer.get_subscriptions_info_by_topic(topic)]

    def _settle(self) -> None:
        """Let both ends of a connection take note of each other: one may do so before the other."""
        self.spin_for(0.2)

    def publisher(self, kind: Any, topic: str, qos: QoSProfile) -> Any:
        # rclpy's own callbacks warn of incompatible peers by a deprecated function.
        quiet = PublisherEventCallbacks(use_default_callbacks=False)
        return self.peer.create_publisher(kind, topic, qos, event_callbacks=quiet)

    def message(self, image: Any, stamp_ns: int = 1, encoding: str = 'rgb8') -> Image:
        header = Header(frame_id='camera_optical')
        header.stamp.sec, header.stamp.nanosec = divmod(stamp_ns, 10**9)
        return message_from_image(image, encoding, header)

    def wait(self, is_done: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Serve the peer until something is so; long enough for a machine that pauses or is shared."""
        end = time.monotonic() + timeout_s
        while not is_done():
            assert time.monotonic() < end, f'waited in vain; diagnostics: {self.values()}'
            self._executor.spin_once(timeout_sec=0.02)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        if service not in self._clients:
            self._clients[service] = self.peer.create_client(kind, service)
            self.wait(lambda: self._clients[service].service_is_ready() and self.node.count_clients(service))
            self._settle()
        answer = self._clients[service].call_async(request)
        self.wait(answer.done, 60)
        return answer.result()

    def change_state(self, name: str) -> bool:
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return bool(self.call(ChangeState, '/seg_ros/change_state', request).success)

    def state(self) -> str:
        return str(self.call(GetState, '/seg_ros/get_state', GetState.Request()).current_state.label)

    def set(self, name: str, value: Any) -> str:
        """Set a parameter; returns why it was refused, or ''."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self.call(SetParameters, '/seg_ros/set_parameters', request).results
        assert result.successful == (not result.reason)
        return str(result.reason)

    def get(self, name: str) -> Any:
        request = GetParameters.Request(names=[name])
        (value,) = self.call(GetParameters, '/seg_ros/get_parameters', request).values
        return rclpy.parameter.parameter_value_to_python(value)

    def says(self, words: str) -> bool:
        """Whether the last diagnostic message has these words."""
        return bool(self.diagnostics) and words in self.diagnostics[-1].status[0].message

    def values(self) -> dict[str, str]:
        """Of the last diagnostics."""
        return {pair.key: pair.value for pair in self.diagnostics[-1].status[0].values}

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def robot(model_file: Path, tmp_path: Path) -> Iterator[Robot]:
    made = Robot(model_file, tmp_path)
    yield made
    made.close()
