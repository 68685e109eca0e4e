"""Subscriptions that no message can stop.

Messages are taken as bytes and deserialized here, under a guard. rclpy would have the middleware deserialize
them while it takes them. A message that it cannot deserialize is then lost without a word, and Fast DDS 3.2
sometimes tries the same one for ever, with the lock of Python held (``ReadTakeCommand::add_instance`` does
not get past a message that is not in the history any more). Requests of services are always taken as bytes.
"""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from seg_ros.schema import shown

_THROTTLE_S = 5.0


class RawSubscriptions:
    """Makes every subscription of a node raw, also those of rclpy itself; a base before that of the node."""

    def create_subscription(
        self,
        msg_type: Any,
        topic: str,
        callback: Any,
        qos_profile: Any,
        *,
        raw: bool = False,
        **options: Any,
    ) -> Any:
        """Subscribe as in rclpy; messages that cannot be deserialized or handled are dropped and logged."""
        node: Any = self
        receive = callback if raw else deserialized(node, msg_type, topic, callback)
        parent: Any = super()
        return parent.create_subscription(msg_type, topic, receive, qos_profile, raw=True, **options)


def deserialized(
    node: Node, kind: Any, topic: str, callback: Callable[[Any], None]
) -> Callable[[bytes], None]:
    """A callback of serialized messages.

    Args:
        node: Node that subscribes; messages that cannot be deserialized go to its log.
        kind: Class of the messages.
        topic: Topic, for the log.
        callback: Called with each message, under the same guard; a function, not a coroutine function.
    """

    def receive(payload: bytes) -> None:
        try:
            callback(deserialize_message(payload, kind))
        except Exception as err:
            if not node.context.ok():  # a signal has shut rclpy down during this message
                raise
            node.get_logger().warning(
                f'{topic}: a message of {len(payload)} bytes is dropped, it is not a valid {kind.__name__} '
                f'({shown(str(err))}): check its publisher',
                throttle_duration_sec=_THROTTLE_S,
            )

    return receive
