"""Quality of service: what to ask of cameras, and why they may not be heard."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from seg_ros.errors import ParameterError

OUTPUT_DEPTH = 5


def input_qos(reliability: ReliabilityPolicy) -> QoSProfile:
    """For the camera: sensor data, but only the newest frame is kept."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=reliability,
        durability=DurabilityPolicy.VOLATILE,
    )


def output_qos() -> QoSProfile:
    """For results: every subscriber can match it."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE
    )


def latched_qos() -> QoSProfile:
    """For what is said once: late joiners get the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def choose_reliability(asked: str, offered: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy:
    """The reliability to subscribe with.

    Args:
        asked: 'reliable' or 'best_effort' decide; 'auto' is reliable if all publishers offer that.
        offered: by every publisher there is.
    """
    if asked != 'auto':
        return ReliabilityPolicy[asked.upper()]
    offers = set(offered)
    return (
        ReliabilityPolicy.RELIABLE
        if offers == {ReliabilityPolicy.RELIABLE}
        else ReliabilityPolicy.BEST_EFFORT
    )


def find_qos_mismatch(publishers: Iterable[Any], type_name: str, reliability: ReliabilityPolicy) -> str:
    """Why a subscription cannot receive from some publisher of its topic; empty if it can from all.

    Args:
        publishers: ``TopicEndpointInfo`` of each.
        type_name: of the subscription, e.g. 'sensor_msgs/msg/Image'.
        reliability: of the subscription.
    """
    for publisher in publishers:
        if publisher.topic_type != type_name:
            return f'publisher sends {publisher.topic_type}, but {type_name} was asked for'
        offered = publisher.qos_profile.reliability
        if reliability == ReliabilityPolicy.RELIABLE and offered == ReliabilityPolicy.BEST_EFFORT:
            return 'incompatible QoS: publisher offers best effort, reliable was asked'
    return ''


@contextmanager
def checked_overrides(topic: str) -> Iterator[None]:
    """Around the making of a publisher or subscription whose quality of service parameters may override.

    Raises:
        ParameterError: rclpy refused what such a parameter says.
    """
    try:
        yield
    except (ParameterException, RuntimeError, ValueError) as err:  # rclpy raises each for some values
        raise ParameterError(f'{topic}: {err}; see the parameters below qos_overrides') from err
