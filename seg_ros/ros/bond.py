"""Heartbeats for nav2's lifecycle manager, which takes a node without them for dead.

The protocol is that of the package bond (https://wiki.ros.org/bond): two peers with the same id publish
``bond/Status`` on one topic. nav2's manager joins after it has activated a node, under the node's name on the
topic ``bond``. Deliberate difference from bondpy: heartbeats come from the node's executor instead of a
thread of their own, so a node that answers nobody counts as dead.
"""

from typing import Any
from uuid import uuid4

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.node import Node

from seg_ros.ros.endpoints import BOND

PERIOD_S = 0.25
"""Time between heartbeats: the default of nav2's ``bond_heartbeat_period``."""

_TIMEOUT_S = 4.0
"""Time without heartbeats after which a peer counts as dead, as in nav2."""

_FAREWELL_S = 0.1
"""Longest wait until the peers have received the last message, in seconds."""


class Bond:
    """Bond of an active node. It does nothing where the package bond is not installed.

    Args:
        node: Node that lives.
        period_s: Time between heartbeats; 0 = no bond.
    """

    def __init__(self, node: Node, period_s: float = PERIOD_S) -> None:
        self._node, self._period_s = node, period_s
        self._instance, self._is_alive = str(uuid4()), True
        self._publisher: Any = None
        kind = _status_type()
        if kind is None or period_s <= 0:
            return
        self._kind = kind
        self._publisher = node.create_publisher(kind, BOND, 10)
        self._subscription = node.create_subscription(kind, BOND, self._on_status, 10)
        # Not the node's clock, which stands still while a simulation is paused.
        self._timer = node.create_timer(period_s, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Tell the peer that the bond ends on purpose, and release it."""
        if self._publisher is None:
            return
        if self._is_alive and self._node.context.ok():
            self._publish(is_active=False)
            self._publisher.wait_for_all_acked(Duration(seconds=_FAREWELL_S))  # else it may get lost
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)
        self._publisher = None

    def _beat(self) -> None:
        if self._is_alive:
            self._publish(is_active=True)

    def _on_status(self, status: Any) -> None:
        is_peer = status.id == self._node.get_name() and status.instance_id != self._instance
        if not is_peer:
            return
        if not status.active and self._is_alive:
            self._is_alive = False
            self._publish(is_active=False)  # a peer that ends waits for this
        elif status.active and not self._is_alive:
            self._is_alive = True  # another manager

    def _publish(self, *, is_active: bool) -> None:
        status = self._kind(
            id=self._node.get_name(),
            instance_id=self._instance,
            active=is_active,
            heartbeat_timeout=_TIMEOUT_S,
            heartbeat_period=self._period_s,
        )
        status.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(status)


def _status_type() -> Any:
    """``bond/Status``; None where that package is not installed."""
    try:
        from bond.msg import Status
    except ImportError:
        return None
    return Status
