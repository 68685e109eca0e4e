"""The node's diagnostics: health, facts about the running model, and everything else that needs telling."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from seg_ros.inference.drops import Statistics
from seg_ros.inference.health import Severity, Situation, judge
from seg_ros.inference.latency_budget import LatencyBudget
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.ros.endpoints import DIAGNOSTICS
from seg_ros.ros.messages import diagnostic_array
from seg_ros.ros.model_slot import ModelSlot
from seg_ros.ros.publishers import Outputs
from seg_ros.ros.subscription import CameraSubscription


@dataclass
class Status:
    """State of the node that only it knows.

    Attributes:
        state: Lifecycle state, e.g. 'active'.
        failure: Error of the last transition; empty if it succeeded.
        swap_failure: Reason why the model that was set last does not run; empty if it does.
    """

    state: str = 'unconfigured'
    failure: str = ''
    swap_failure: str = ''


class StatusPublisher:
    """Publishes the diagnostics of a node.

    Args:
        node: The node.
        status: Its state, kept up to date by the node.
        statistics: Counters of frames and drops.
        models: The running model, and the one that loads.
        budget: The latency budget.
    """

    def __init__(
        self, node: Node, status: Status, statistics: Statistics, models: ModelSlot, budget: LatencyBudget
    ) -> None:
        self._node, self._status, self._statistics = node, status, statistics
        self._models, self._budget = models, budget
        self._publisher = node.create_publisher(DiagnosticArray, DIAGNOSTICS, 10)
        self._n_namesakes = 1

    def publish(self, settings: Settings, camera: CameraSubscription | None, outputs: Outputs | None) -> None:
        """Publish one message.

        Args:
            settings: Values of the parameters.
            camera: Subscription to the camera; None while the node is not active.
            outputs: Publishers of the results; None while the node is not configured.
        """
        situation = Situation(
            state=self._status.state,
            failure=self._status.failure,
            topic=camera.topic if camera else '',
            n_publishers=camera.n_publishers if camera else 0,
            qos_mismatch=camera.qos_mismatch if camera else '',
            n_subscribers=outputs.n_subscribers if outputs else 0,
            max_age_ms=settings.max_age_ms,
            max_rate_hz=settings.max_rate_hz,
            notes=tuple(self._notes(settings)),
            facts=self._facts(),
        )
        verdict = judge(situation, self._statistics.summary())
        name = f'{self._node.get_fully_qualified_name().lstrip("/")}: segmentation'
        stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(diagnostic_array(verdict, name, platform.node(), stamp))

    def count_namesakes(self) -> None:
        """Count the nodes with this node's name, and log it if there is another one."""
        own = self._node.get_name(), self._node.get_namespace()
        before, self._n_namesakes = self._n_namesakes, self._node.get_node_names_and_namespaces().count(own)
        if self._n_namesakes > max(before, 1):
            self._node.get_logger().warning(
                f'{self._duplicate()}: requests to it reach any of them; give each a name of its own, e.g. '
                '--ros-args -r __node:=another_name'
            )

    def _notes(self, settings: Settings) -> Iterator[tuple[Severity, str]]:
        """Things to tell beside the frames."""
        if self._models.progress:
            yield Severity.OK, self._models.progress
        if self._status.swap_failure:
            yield Severity.WARN, self._status.swap_failure
        if self._budget.index:
            yield Severity.WARN, self._budget.describe(settings.latency_budget_ms)
        if self._n_namesakes > 1:
            yield Severity.WARN, self._duplicate()

    def _duplicate(self) -> str:
        return f'{self._n_namesakes} nodes have the name {self._node.get_fully_qualified_name()}'

    def _facts(self) -> dict[str, str]:
        """Key values about the running model."""
        facts = {}
        if self._models.processor:
            facts = {**_facts_of(self._models.processor.segmenter), 'quality': self._budget.step.name}
        if self._budget.latency_ms is not None:
            facts['latency_p90_ms'] = f'{self._budget.latency_ms:.2f}'
        return facts


def _facts_of(segmenter: Segmenter) -> dict[str, str]:
    height, width = segmenter.input_size
    return {
        'model': str(segmenter.model.path),
        'digest': segmenter.model.digest,
        'backend': segmenter.backend_name,
        'device': str(segmenter.device),
        'quantization': segmenter.quantization,
        'input_size': f'{width}x{height}',
    }
