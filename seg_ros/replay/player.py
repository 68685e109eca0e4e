"""Plays a bag to a running node through DDS, and records the results.

Images are published as the bytes in the bag, together with ``/clock``: at the recorded pace, or each after
the results of the one before. The recording has the time of that clock. Latencies are measured with a steady
clock, from just before a frame is published until its labels arrive.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from seg_ros.bags.messages import Message, Topic, stamp_ns
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import BagError, UnavailableError
from seg_ros.msg import ModelInfo, SegmentCodeArray
from seg_ros.replay.bag_time import BagTime
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.lifecycle import STEPS, LifecycleClient
from seg_ros.replay.node_process import NodeProcess
from seg_ros.replay.options import ReplayOptions
from seg_ros.replay.resources import ResourceMeter, Resources
from seg_ros.replay.topics import (
    DIAGNOSTICS,
    LABEL_INFO,
    LABELS,
    MODEL_INFO,
    NODE_NAME,
    SEGMENTS,
    is_compressed,
    published_topic,
)

DIAGNOSTICS_PERIOD_S = 0.25
"""Period of a node that is started for a replay; short, since a replay may be short."""

_TICK_S = 0.01
_START_TIMEOUT_S = 120.0
_CONNECT_TIMEOUT_S = 20.0
_SETTLE_S = 0.5


def playable(bag: BagReader, topic: str) -> Iterator[Message]:
    """Messages of a topic that are messages of their type; the others are recorded as losses of the bag.

    Raises:
        BagError: The topic has no such message.
    """
    n_played = 0
    for message in bag.messages(topic):
        try:
            message.decode()
        except BagError as err:
            bag.skip(message, err)
            continue
        n_played += 1
        yield message
    if not n_played:
        raise BagError(f'bag {bag.path} has no readable message of {topic}: {bag.losses}')


class Replay:
    """A node that plays a bag and records results; a context manager.

    Args:
        bag: Bag to play.
        topic: Image topic of the bag.
        writer: Recording.
        options: Pace and outputs.
        stop: Event that a signal sets; the replay ends soon after.
        node: Process of the segmentation node if we started it; the replay fails when the process ends.

    Attributes:
        latencies: Counts of frames and results, and latencies.
        resources: Use of the node's process while it played; None before the end, or if the node is not ours.
    """

    def __init__(
        self,
        bag: BagReader,
        topic: Topic,
        writer: BagWriter,
        options: ReplayOptions,
        stop: threading.Event,
        node: NodeProcess | None = None,
    ) -> None:
        self.latencies = LatencyLog()
        self.resources: Resources | None = None
        self._bag, self._topic, self._writer, self._options = bag, topic, writer, options
        self._stop, self._process = stop, node
        self._context = rclpy.Context()
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node(f'{NODE_NAME}_replay', context=self._context, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._clock = self._node.create_publisher(Clock, '/clock', 10)
        kind = CompressedImage if is_compressed(topic) else Image
        self._images = self._node.create_publisher(kind, published_topic(topic), 10)
        self._time = BagTime(next(playable(bag, topic.name)).received_ns, options.rate)
        self._last_stamp_ns, self._missing = 0, set[str]()
        self._subscriptions = list(self._subscribe())

    def start_node(self) -> None:
        """Configure and activate the segmentation node.

        Raises:
            UnavailableError: The node does not answer, or it refuses.
        """
        client = LifecycleClient(self._node, self._wait)
        client.wait_for_services()
        for step in STEPS:
            has_succeeded = client.take(step)
            if self._stop.is_set():
                return
            if not has_succeeded:
                raise self.failure(f'the node {NODE_NAME} could not {step.name}')

    def run(self) -> None:
        """Play all frames and wait for the last results.

        Raises:
            UnavailableError: The node is not connected, or it has ended.
        """
        # A node that is not ours may still be starting.
        timeout_s = _CONNECT_TIMEOUT_S if self._process else _START_TIMEOUT_S
        self._wait(self._is_connected, timeout_s, self._connection_problem)
        self._spin_for(_SETTLE_S)
        meter = ResourceMeter(self._process.pid) if self._process and self._process.pid else None
        self._play_all()
        self.resources = meter.read() if meter else None
        self._spin_for(1.2 * DIAGNOSTICS_PERIOD_S)

    def failure(self, problem: str) -> UnavailableError:
        """An error; it has the end of the node's log if we started the node."""
        log = f'; its log ends with:\n{self._process.end_of_log()}' if self._process else ''
        return UnavailableError(problem + log)

    # Frames

    def _play_all(self) -> None:
        """Play all frames, and wait for the results of the last one."""
        n_frames = min(self._topic.n_messages, self._options.limit or self._topic.n_messages)
        messages = islice(playable(self._bag, self._topic.name), n_frames)
        with tqdm(total=n_frames, desc='replaying', unit='frame', disable=None) as progress:
            for message in messages:
                self._wait_until_due(message)
                if self._stop.is_set():
                    return
                self._play(message)
                if self._options.every_frame:
                    self._wait_for_results()
                progress.update()
        self._wait_for_results()

    def _wait_until_due(self, message: Message) -> None:
        """Serve messages until the bag time of a frame; with ``every_frame``, set the clock to it instead."""
        if self._options.every_frame:
            self._time.stand_at(message.received_ns)
        else:
            self._time.go()
        while not self._stop.is_set() and (left_s := self._time.seconds_until(message.received_ns)) > 0:
            self._spin_once(min(left_s, _TICK_S))
            self._publish_clock()

    def _play(self, message: Message) -> None:
        """Publish and record a frame."""
        self._publish_clock()
        self._last_stamp_ns, self._missing = message.stamp_ns, set(self._options.outputs)
        self.latencies.publish(message.stamp_ns, time.monotonic())
        self._images.publish(message.cdr)
        self._writer.write(message.topic, message.type, message.cdr, message.received_ns)

    def _wait_for_results(self) -> None:
        """Serve messages until the last frame has all its results, or the timeout has passed."""
        give_up_s = time.monotonic() + self._options.timeout_s
        while self._missing and not self._stop.is_set() and time.monotonic() < give_up_s:
            self._spin_once(_TICK_S)
        self.latencies.give_up(self._last_stamp_ns)

    def _publish_clock(self) -> None:
        seconds, nanoseconds = divmod(self._time.now_ns(), 1_000_000_000)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    # Results

    def _subscribe(self) -> Iterator[object]:
        """Subscriptions of everything that is recorded."""
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic in self._options.outputs:
            yield self._record(SegmentCodeArray if topic == SEGMENTS else Image, topic, reliable)
        yield self._record(ModelInfo, MODEL_INFO, latched)
        yield self._record(DiagnosticArray, DIAGNOSTICS, reliable)
        with contextlib.suppress(ImportError):
            from vision_msgs.msg import LabelInfo

            yield self._record(LabelInfo, LABEL_INFO, latched)

    def _record(self, kind: Any, topic: str, qos: QoSProfile) -> object:
        """Subscription that writes each message, as bytes, to the recording."""
        type_name = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
        is_latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL

        def receive(cdr: bytes) -> None:
            now_s = time.monotonic()
            if topic in self._options.outputs:
                self._count_result(topic, stamp_ns(cdr), now_s)
            self._writer.write(topic, type_name, cdr, self._time.now_ns(), latched=is_latched)

        return self._node.create_subscription(kind, topic, receive, qos, raw=True)

    def _count_result(self, topic: str, stamp: int, now_s: float) -> None:
        if topic == LABELS:
            self.latencies.result(stamp, now_s)
        if stamp == self._last_stamp_ns:
            self._missing.discard(topic)

    # Connections and waiting

    def _is_connected(self) -> bool:
        return bool(self._images.get_subscription_count()) and not self._unpublished_outputs()

    def _unpublished_outputs(self) -> list[str]:
        return [topic for topic in self._options.outputs if not self._node.count_publishers(topic)]

    def _connection_problem(self) -> str:
        problems = [f'nobody publishes {topic}' for topic in self._unpublished_outputs()]
        if not self._images.get_subscription_count():
            problems.append(f'nobody subscribes to {self._images.topic_name}')
        return f'the node {NODE_NAME} is not connected: {", ".join(problems)}'

    def _wait(self, is_done: Callable[[], bool], timeout_s: float, problem: str | Callable[[], str]) -> None:
        """Serve messages until a condition holds or the replay is stopped.

        Raises:
            UnavailableError: The condition does not hold in time; the message is ``problem``.
        """
        give_up_s = time.monotonic() + timeout_s
        while not is_done() and not self._stop.is_set():
            if time.monotonic() > give_up_s:
                text = problem if isinstance(problem, str) else problem()
                raise self.failure(f'{text} after {timeout_s:g} s')
            self._spin_once(0.05)

    def _spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self._stop.is_set():
            self._spin_once(0.05)
            self._publish_clock()

    def _spin_once(self, timeout_s: float) -> None:
        if self._process:
            self._process.check()
        self._executor.spin_once(timeout_sec=timeout_s)

    def __enter__(self) -> 'Replay':
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
