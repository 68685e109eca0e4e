"""Playing a bag to a running node through DDS, and recording what it answers.

Images are published as the bytes that the bag holds, at the pace in which they were recorded or one after
the other, together with ``/clock``. Everything is recorded in the time of that clock; latencies are measured
with a steady one, from just before a frame is published until its labels are here.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from seg_ros.bags.messages import COMPRESSED_IMAGE, Message, Topic, stamp_ns
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.errors import UnavailableError
from seg_ros.msg import ModelInfo, SegmentCodeArray
from seg_ros.replay.latency import LatencyLog
from seg_ros.replay.node_process import NODE_NAME, NodeProcess
from seg_ros.ros.publishers import OF_SEGMENTS

DIAGNOSTICS_PERIOD_S = 0.25
"""Of a node that is started for a replay, which may be short."""

_TICK_S = 0.01
_START_TIMEOUT_S = 120.0
_CONFIGURE_TIMEOUT_S = 600.0
_CONNECT_TIMEOUT_S = 20.0
_SETTLE_S = 0.5
_ASK_PERIOD_S = 1.0
_N_REQUESTS = 3


@dataclass(frozen=True)
class ReplayOptions:
    """How to play a bag.

    Attributes:
        rate: speed, 1 = as recorded; above 0.
        every_frame: publish a frame only when the one before has its results.
        timeout_s: longest wait for the results of a frame with ``every_frame``, else for those of the last.
        limit: largest number of frames; None = all.
        confidence: whether to ask for, and record, the confidence.
        overlay: whether to ask for, and record, the overlay.
        segments: whether to ask for, and record, segments, their ids, and their overlay.
    """

    rate: float = 1.0
    every_frame: bool = False
    timeout_s: float = 10.0
    limit: int | None = None
    confidence: bool = False
    overlay: bool = False
    segments: bool = False

    @property
    def outputs(self) -> list[str]:
        """The topics of the node that carry a result for every frame."""
        wanted = {'labels': True, 'confidence': self.confidence, 'overlay': self.overlay}
        wanted |= dict.fromkeys(sorted(OF_SEGMENTS), self.segments)
        return [f'/{NODE_NAME}/{name}' for name, is_wanted in wanted.items() if is_wanted]


class BagTime:
    """What ``/clock`` shows: it stands at the bag's first frame until it is told to go.

    Args:
        start_ns: where it stands.
        rate: seconds of it in a second; above 0.
    """

    def __init__(self, start_ns: int, rate: float) -> None:
        self._origin_ns, self._rate = start_ns, rate
        self._origin_s: float | None = None

    def stand_at(self, time_ns: int) -> None:
        """Show this time until further notice."""
        self._origin_ns, self._origin_s = time_ns, None

    def go(self) -> None:
        """Run, if it does not yet."""
        if self._origin_s is None:
            self._origin_s = time.monotonic()

    def now_ns(self) -> int:
        """What it shows."""
        passed_s = 0.0 if self._origin_s is None else time.monotonic() - self._origin_s
        return self._origin_ns + round(1e9 * self._rate * passed_s)

    def seconds_until(self, time_ns: int) -> float:
        """Real time until it shows ``time_ns``."""
        return 1e-9 * (time_ns - self.now_ns()) / self._rate


class Replay:
    """One node that plays a bag and records; a context manager.

    Args:
        bag: what to play.
        topic: its image topic.
        writer: where to record.
        options: how to play.
        stop: set by a signal; ends the replay at the next opportunity.
        node: the process of the node, if we started it: waited for no longer than it lives.
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
        self._time = BagTime(next(bag.messages(topic.name)).received_ns, options.rate)
        self._awaited_ns, self._missing = 0, set[str]()
        self._subscriptions = list(self._subscribe())

    def start_node(self) -> None:
        """Configure and activate the node by its lifecycle services.

        Raises:
            UnavailableError: it does not answer, or it refuses.
        """
        change: Any = self._node.create_client(ChangeState, f'/{NODE_NAME}/change_state')
        ask: Any = self._node.create_client(GetState, f'/{NODE_NAME}/get_state')
        for client in (change, ask):
            self._wait(client.service_is_ready, _START_TIMEOUT_S, f'the node {NODE_NAME} does not appear')
        unconfigured, inactive, active = (
            State.PRIMARY_STATE_UNCONFIGURED,
            State.PRIMARY_STATE_INACTIVE,
            State.PRIMARY_STATE_ACTIVE,
        )
        for name, transition, start, goal in (
            ('configure', Transition.TRANSITION_CONFIGURE, unconfigured, inactive),
            ('activate', Transition.TRANSITION_ACTIVATE, inactive, active),
        ):
            for _ in range(_N_REQUESTS):
                answer = change.call_async(ChangeState.Request(transition=Transition(id=transition)))
                state = _StateWatch(ask, answer)
                self._wait(state.is_settled, _CONFIGURE_TIMEOUT_S, f'the node {NODE_NAME} does not {name}')
                if answer.done() or state.current != start:
                    break  # else the request got lost, as answers may
            succeeded = answer.result().success if answer.done() else state.current == goal
            if not self._stop.is_set() and not succeeded:
                raise self.failure(f'the node {NODE_NAME} could not {name}')

    def run(self) -> None:
        """Play all frames and wait for the last results.

        Raises:
            UnavailableError: the node is not connected, or it ended.
        """
        # A node that is not ours may be starting just now.
        timeout_s = _CONNECT_TIMEOUT_S if self._process else _START_TIMEOUT_S
        self._wait(self._is_connected, timeout_s, self._not_connected)
        self._spin_for(_SETTLE_S)
        n_frames = min(self._topic.n_messages, self._options.limit or self._topic.n_messages)
        messages = islice(self._bag.messages(self._topic.name), n_frames)
        with tqdm(total=n_frames, desc='replaying', unit='frame', disable=None) as progress:
            for message in messages:
                self._await_turn(message)
                if self._stop.is_set():
                    return
                self._play(message)
                if self._options.every_frame:
                    self._await_results()
                progress.update()
        self._await_results()
        self._spin_for(1.2 * DIAGNOSTICS_PERIOD_S)

    def failure(self, problem: str) -> UnavailableError:
        """An error with the last lines of the node's log, if we can see it."""
        words = f'; its last words:\n{self._process.last_words()}' if self._process else ''
        return UnavailableError(problem + words)

    def _await_turn(self, message: Message) -> None:
        """Serve messages until the frame is due; at once where frames follow each other's results."""
        if self._options.every_frame:
            self._time.stand_at(message.received_ns)
        else:
            self._time.go()
        while not self._stop.is_set() and (left_s := self._time.seconds_until(message.received_ns)) > 0:
            self._spin_once(min(left_s, _TICK_S))
            self._tick()

    def _play(self, message: Message) -> None:
        self._tick()
        self._awaited_ns, self._missing = message.stamp_ns, set(self._options.outputs)
        self.latencies.publish(message.stamp_ns, time.monotonic())
        self._images.publish(message.cdr)
        self._writer.write(message.topic, message.type, message.cdr, message.received_ns)

    def _await_results(self) -> None:
        """Serve messages until the last frame played has all its results, or the time for that is up."""
        give_up_s = time.monotonic() + self._options.timeout_s
        while self._missing and not self._stop.is_set() and time.monotonic() < give_up_s:
            self._spin_once(_TICK_S)
        self.latencies.give_up(self._awaited_ns)

    def _tick(self) -> None:
        seconds, nanoseconds = divmod(self._time.now_ns(), 1_000_000_000)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def _subscribe(self) -> Iterator[object]:
        """Subscribe to what is recorded, as bytes."""
        results = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic in self._options.outputs:
            is_list = topic == f'/{NODE_NAME}/segments'
            yield self._record(SegmentCodeArray if is_list else Image, topic, results)
        yield self._record(ModelInfo, f'/{NODE_NAME}/model_info', latched)
        yield self._record(DiagnosticArray, '/diagnostics', results)
        with contextlib.suppress(ImportError):
            from vision_msgs.msg import LabelInfo

            yield self._record(LabelInfo, f'/{NODE_NAME}/label_info', latched)

    def _record(self, kind: Any, topic: str, qos: QoSProfile) -> object:
        type_name = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
        is_latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL

        def receive(cdr: bytes) -> None:
            now_s = time.monotonic()
            if topic in self._options.outputs:
                self._book(topic, stamp_ns(cdr), now_s)
            self._writer.write(topic, type_name, cdr, self._time.now_ns(), latched=is_latched)

        return self._node.create_subscription(kind, topic, receive, qos, raw=True)

    def _book(self, topic: str, stamp: int, now_s: float) -> None:
        if topic == self._options.outputs[0]:
            self.latencies.result(stamp, now_s)
        if stamp == self._awaited_ns:
            self._missing.discard(topic)

    def _is_connected(self) -> bool:
        return bool(self._images.get_subscription_count()) and not self._silent_outputs()

    def _silent_outputs(self) -> list[str]:
        return [topic for topic in self._options.outputs if not self._node.count_publishers(topic)]

    def _not_connected(self) -> str:
        silent = [f'nobody publishes {topic}' for topic in self._silent_outputs()]
        if not self._images.get_subscription_count():
            silent.append(f'nobody subscribes to {self._images.topic_name}')
        return f'the node {NODE_NAME} is not connected: {", ".join(silent)}'

    def _wait(self, is_done: Callable[[], bool], timeout_s: float, problem: str | Callable[[], str]) -> None:
        """Serve messages until something is so.

        Raises:
            UnavailableError: it does not become so in time.
        """
        give_up_s = time.monotonic() + timeout_s
        while not is_done() and not self._stop.is_set():
            if time.monotonic() > give_up_s:
                what = problem if isinstance(problem, str) else problem()
                raise self.failure(f'{what} after {timeout_s:g} s')
            self._spin_once(0.05)

    def _spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not self._stop.is_set():
            self._spin_once(0.05)
            self._tick()

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


class _StateWatch:
    """Waits for the end of a transition of a lifecycle node, by its answer or else by its state.

    The answer can get lost: a server sends it once, and on a busy computer that may be before it has
    discovered who listens. The node answers nothing while it is in a transition, so a state that it tells
    twice is where it has come to rest.

    Args:
        client: of its get_state service.
        answer: the future of its change_state service.

    Attributes:
        current: the last state told, an id of lifecycle_msgs/State.
    """

    def __init__(self, client: Any, answer: Any) -> None:
        self._client, self._answer = client, answer
        self._question: Any = None
        self._due_s = time.monotonic() + _ASK_PERIOD_S
        self._n_same = 0
        self.current = State.PRIMARY_STATE_UNKNOWN

    def is_settled(self) -> bool:
        """Whether the transition is over; asks for the state again when that is due."""
        if self._question is not None and self._question.done():
            state = self._question.result().current_state.id
            self._n_same = self._n_same + 1 if state == self.current else 1
            self.current, self._question = state, None
        if time.monotonic() > self._due_s:
            self._due_s = time.monotonic() + _ASK_PERIOD_S
            self._question = self._client.call_async(GetState.Request())
        return bool(self._answer.done()) or self._n_same >= 2


def is_compressed(topic: Topic) -> bool:
    """Whether it carries JPEG or PNG files."""
    return topic.type == COMPRESSED_IMAGE


def published_topic(topic: Topic) -> str:
    """Where its images are published: image_transport has compressed ones below the name of the raw ones."""
    return f'{base_topic(topic)}/compressed' if is_compressed(topic) else topic.name


def base_topic(topic: Topic) -> str:
    """What the node's topic ``image`` is to be called for it."""
    return topic.name.removesuffix('/compressed') if is_compressed(topic) else topic.name
