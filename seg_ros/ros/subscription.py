"""The subscription to the camera: its topic, and a reliability that adapts to the publishers.

Messages are taken as bytes, for the reason in ``seg_ros.ros.raw_subscriptions``, and read by
``seg_ros.images.serialized``, which costs no more than messages of rclpy.
"""

from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from seg_ros.errors import ImageError, ParameterError
from seg_ros.images.serialized import ReceivedFile, ReceivedImage, read_compressed_image, read_image
from seg_ros.ros.endpoints import CAMERA
from seg_ros.ros.qos import checked_overrides, choose_reliability, find_qos_mismatch, input_qos

_LOST_TO_LOG, _LOG_AGAIN_S = 5, 60.0

_OVERRIDES = ('', 'best_effort', 'reliable')


class CameraSubscription:
    """Receives images until it is closed.

    Args:
        node: Node that subscribes.
        on_image: Called with every message; its header is a ``std_msgs/Header``.
        on_bad: Called with the error for every message that cannot be read.
        transport: 'raw' or 'compressed'.
        reliability: 'auto', 'best_effort' or 'reliable'; a parameter of qos_overrides takes precedence.
        on_lost: Called with the number of frames that the middleware reports as lost on the way.

    Attributes:
        topic: Full name of the topic, after remapping.
        n_publishers: Number of publishers at the last `look`.
        qos_mismatch: Reason why one of them could not be received then; empty if all could.

    Raises:
        ParameterError: The reliability in qos_overrides is unknown.
    """

    def __init__(
        self,
        node: Node,
        on_image: Callable[[ReceivedImage | ReceivedFile], None],
        on_bad: Callable[[ImageError], None],
        transport: str,
        reliability: str,
        on_lost: Callable[[int], None] = lambda n_frames: None,
    ) -> None:
        self._node, self._on_image, self._on_bad, self._on_lost = node, on_image, on_bad, on_lost
        self._n_lost = 0
        is_compressed = transport == 'compressed'
        self._type: Any = CompressedImage if is_compressed else Image
        self._read: Callable[..., ReceivedImage | ReceivedFile] = (
            read_compressed_image if is_compressed else read_image
        )
        self._type_name = f'sensor_msgs/msg/{self._type.__name__}'
        self.topic = camera_topic(node, transport)
        self._asked = self._override() or reliability
        self._subscription: Any = None
        self._reliability: ReliabilityPolicy | None = None
        self.n_publishers, self.qos_mismatch = 0, ''
        self.look()

    def look(self) -> None:
        """Look at the publishers, and subscribe anew if they need another reliability."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        self.n_publishers = len(publishers)
        offered = [p.qos_profile.reliability for p in publishers if p.topic_type == self._type_name]
        reliability = choose_reliability(self._asked, offered)
        qos_mismatch = find_qos_mismatch(publishers, self._type_name, reliability)
        if qos_mismatch and qos_mismatch != self.qos_mismatch:
            self._node.get_logger().warning(f'{self.topic}: {qos_mismatch}')
        self.qos_mismatch = qos_mismatch
        if reliability != self._reliability and (offered or self._reliability is None):
            self.close()
            self._subscribe(reliability)

    def close(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        self._reliability = reliability
        # Without this list rclpy would declare the reliability once and keep it.
        options = QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH])
        # Incompatible publishers are reported by `look`.
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        counting = SubscriptionEventCallbacks(message_lost=self._count_lost, use_default_callbacks=False)
        with checked_overrides(self.topic):
            try:
                self._subscription = self._create(reliability, options, counting)
            except UnsupportedEventTypeError:  # this middleware does not count lost messages
                self._subscription = self._create(reliability, options, silent)

    def _create(
        self,
        reliability: ReliabilityPolicy,
        options: QoSOverridingOptions,
        callbacks: SubscriptionEventCallbacks,
    ) -> Any:
        return self._node.create_subscription(
            self._type,
            self.topic,
            self._receive,
            input_qos(reliability),
            raw=True,
            qos_overriding_options=options,
            event_callbacks=callbacks,
        )

    def _receive(self, payload: bytes) -> None:
        """Hand on a serialized message, or the error for which it cannot be read."""
        try:
            message = self._read(payload, _header)
        except ImageError as err:
            self._on_bad(err)
        else:
            self._on_image(message)

    def _count_lost(self, event: Any) -> None:
        """Count lost frames, and log them once there are several."""
        self._n_lost += event.total_count_change
        self._on_lost(event.total_count_change)
        if self._n_lost >= _LOST_TO_LOG:
            self._node.get_logger().warning(
                f'{self.topic}: {self._n_lost} frames lost on the way so far; the publisher of the images '
                'needs a transport for large messages, see docs/transport.md',
                throttle_duration_sec=_LOG_AGAIN_S,
            )

    def _override(self) -> str:
        """Reliability set by a parameter of qos_overrides; empty if it is not set."""
        name = f'qos_overrides.{self.topic}.subscription.reliability'
        if not self._node.has_parameter(name):
            described = ParameterDescriptor(
                description='Reliability of the camera subscription; empty = input_reliability.',
                additional_constraints=' | '.join(_OVERRIDES),
                read_only=True,
            )
            self._node.declare_parameter(name, '', described)
        value = str(self._node.get_parameter(name).value)
        if value not in _OVERRIDES:
            raise ParameterError(f"{name} is '{value}'; expected one of {', '.join(_OVERRIDES[1:])}")
        return value


def _header(seconds: int, nanoseconds: int, frame_id: str) -> Header:
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def camera_topic(node: Node, transport: str) -> str:
    """Full name of the camera's topic.

    A remapping of ``image`` holds for the compressed topic below it too, unless that is remapped itself.
    """
    image = node.resolve_topic_name(CAMERA['raw'])
    if transport == 'raw':
        return image
    compressed = node.resolve_topic_name(CAMERA['compressed'])
    is_remapped = compressed != node.resolve_topic_name(CAMERA['compressed'], only_expand=True)
    return compressed if is_remapped else node.resolve_topic_name(f'{image}/compressed')
