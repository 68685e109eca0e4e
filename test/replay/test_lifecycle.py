"""Requests and answers that get lost; a real node is configured and activated in test_player.py."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip('rclpy')

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future

from seg_ros.replay import lifecycle
from seg_ros.replay.lifecycle import STEPS, LifecycleClient

CONFIGURE = STEPS[0]


class LossyNode:
    """Services of a lifecycle node.

    Args:
        n_lost: Number of requests that do not arrive.
        is_answer_lost: Whether the answers of the requests that arrive are lost.
        succeeds: Whether the transition succeeds.
    """

    def __init__(self, n_lost: int, is_answer_lost: bool, succeeds: bool = True) -> None:
        self._n_lost, self._is_answer_lost, self._succeeds = n_lost, is_answer_lost, succeeds
        self.state, self.n_requests = State.PRIMARY_STATE_UNCONFIGURED, 0

    def create_client(self, kind: Any, name: str) -> Any:
        return Client(self.change_state if kind is ChangeState else self.get_state)

    def change_state(self, request: Any) -> Future:
        self.n_requests += 1
        future = Future()
        if self.n_requests > self._n_lost:
            if self._succeeds:
                self.state = CONFIGURE.goal
            if not self._is_answer_lost:
                future.set_result(ChangeState.Response(success=self._succeeds))
        return future

    def get_state(self, request: Any) -> Future:
        future = Future()
        future.set_result(GetState.Response(current_state=State(id=self.state)))
        return future


class Client:
    def __init__(self, call: Callable[[Any], Future]) -> None:
        self.call_async = call

    def service_is_ready(self) -> bool:
        return True


def wait(is_done: Callable[[], bool], timeout_s: float, problem: str) -> None:
    assert any(is_done() for _ in range(10)), problem


@pytest.mark.parametrize(
    ('node', 'n_requests', 'succeeds'),
    [
        (LossyNode(0, False), 1, True),
        (LossyNode(0, True), 1, True),
        (LossyNode(2, False), 3, True),
        (LossyNode(2, True), 3, True),
        (LossyNode(9, True), 3, False),
        (LossyNode(0, False, succeeds=False), 1, False),
        (LossyNode(0, True, succeeds=False), 3, False),
    ],
)
def test_a_transition_survives_losses(
    node: LossyNode, n_requests: int, succeeds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, '_ASK_PERIOD_S', 0.0)
    client = LifecycleClient(node, wait)
    client.wait_for_services()
    assert client.take(CONFIGURE) is succeeds
    assert node.n_requests == n_requests
