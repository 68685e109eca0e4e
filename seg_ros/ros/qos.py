"""Quality of service (QoS) of subscriptions and publishers, and QoS mismatches."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.exceptions import ParameterException
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from seg_ros.errors import ParameterError
from seg_ros.schema import is_plain_text, shown

OUTPUT_DEPTH = 5


def input_qos(reliability: ReliabilityPolicy) -> QoSProfile:
    """QoS of the camera subscription: sensor data, but only the newest frame is kept."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=reliability,
        durability=DurabilityPolicy.VOLATILE,
    )


def output_qos() -> QoSProfile:
    """QoS of results: every subscriber can match it."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=OUTPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE
    )


def latched_qos() -> QoSProfile:
    """QoS of latched topics: late subscribers get the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def choose_reliability(asked: str, offered: Iterable[ReliabilityPolicy]) -> ReliabilityPolicy:
    """Reliability to subscribe with.

    Args:
        asked: 'reliable' or 'best_effort', or 'auto': reliable if all publishers offer it.
        offered: Reliability of each publisher.
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
    """Reason why a subscription cannot receive from a publisher of its topic; empty if it can from all.

    Args:
        publishers: ``TopicEndpointInfo`` of each publisher.
        type_name: Message type of the subscription, e.g. 'sensor_msgs/msg/Image'.
        reliability: Reliability of the subscription.
    """
    for publisher in publishers:
        if publisher.topic_type != type_name:
            return f'publisher sends {_name(publisher.topic_type)}, but {type_name} was asked for'
        offered = publisher.qos_profile.reliability
        if reliability == ReliabilityPolicy.RELIABLE and offered == ReliabilityPolicy.BEST_EFFORT:
            return 'incompatible QoS: publisher offers best effort, reliable was asked'
    return ''


def _name(topic_type: str) -> str:
    """Name of a type; any process may announce one with line breaks in it."""
    return topic_type if len(topic_type) <= 200 and is_plain_text(topic_type) else shown(topic_type)


@contextmanager
def checked_overrides(topic: str) -> Iterator[None]:
    """Context for making a publisher or subscription with QoS overrides by parameters.

    Raises:
        ParameterError: rclpy refused the value of such a parameter.
    """
    try:
        yield
    except (ParameterException, RuntimeError, ValueError) as err:  # each for some values
        raise ParameterError(f'{topic}: {err}; see the parameters below qos_overrides') from err
