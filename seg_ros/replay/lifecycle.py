"""Configures and activates the segmentation node by its lifecycle services."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from seg_ros.replay.topics import NODE_NAME

Wait = Callable[[Callable[[], bool], float, str], None]
"""``wait(is_done, timeout_s, problem)`` serves messages until ``is_done()``."""

_START_TIMEOUT_S = 120.0
_TRANSITION_TIMEOUT_S = 600.0
_ASK_PERIOD_S = 1.0
_N_REQUESTS = 3


@dataclass(frozen=True)
class LifecycleStep:
    """A transition of a lifecycle node.

    Attributes:
        name: Name of the transition, for messages.
        transition: Id of lifecycle_msgs/Transition.
        start: State before, an id of lifecycle_msgs/State.
        goal: State after success.
    """

    name: str
    transition: int
    start: int
    goal: int


STEPS = (
    LifecycleStep(
        'configure',
        Transition.TRANSITION_CONFIGURE,
        State.PRIMARY_STATE_UNCONFIGURED,
        State.PRIMARY_STATE_INACTIVE,
    ),
    LifecycleStep(
        'activate',
        Transition.TRANSITION_ACTIVATE,
        State.PRIMARY_STATE_INACTIVE,
        State.PRIMARY_STATE_ACTIVE,
    ),
)
"""Transitions from a node that has just started to one that segments."""


class LifecycleClient:
    """Asks the segmentation node for transitions.

    Args:
        node: Node of this process, which calls the services.
        wait: Function that waits; it may return early when the replay is stopped.
    """

    def __init__(self, node: Node, wait: Wait) -> None:
        self._wait = wait
        self._change: Any = node.create_client(ChangeState, f'/{NODE_NAME}/change_state')
        self._ask: Any = node.create_client(GetState, f'/{NODE_NAME}/get_state')

    def wait_for_services(self) -> None:
        """Wait until the node offers its lifecycle services."""
        for client in (self._change, self._ask):
            self._wait(client.service_is_ready, _START_TIMEOUT_S, f'the node {NODE_NAME} does not appear')

    def take(self, step: LifecycleStep) -> bool:
        """Request a transition and wait for its end; a lost request is repeated.

        Returns:
            Whether the node has reached the state.
        """
        for _ in range(_N_REQUESTS):
            request = ChangeState.Request(transition=Transition(id=step.transition))
            answer = self._change.call_async(request)
            watch = _StateWatch(self._ask, answer)
            self._wait(watch.is_settled, _TRANSITION_TIMEOUT_S, f'the node {NODE_NAME} does not {step.name}')
            if answer.done():
                return bool(answer.result().success)
            if watch.current != step.start:
                break  # else the node has not received the request
        return bool(watch.current == step.goal)


class _StateWatch:
    """Watches for the end of a transition: the answer of the request, or else two equal states.

    The node sends the answer once. On a busy computer, that may be before it has discovered the client, and
    the answer is lost. A primary state reported twice is final.

    Args:
        client: Client of the node's get_state service.
        answer: Future of its change_state service.

    Attributes:
        current: Last state reported, an id of lifecycle_msgs/State.
    """

    def __init__(self, client: Any, answer: Any) -> None:
        self._client, self._answer = client, answer
        self._question: Any = None
        self._due_s = time.monotonic() + _ASK_PERIOD_S
        self._n_same = 0
        self.current = State.PRIMARY_STATE_UNKNOWN

    def is_settled(self) -> bool:
        """Whether the transition is over; asks for the state once per second."""
        if self._question is not None and self._question.done():
            state = self._question.result().current_state.id
            is_final = state < State.TRANSITION_STATE_CONFIGURING
            self._n_same = self._n_same + 1 if state == self.current and is_final else 1
            self.current, self._question = state, None
        if time.monotonic() > self._due_s:
            self._due_s = time.monotonic() + _ASK_PERIOD_S
            self._question = self._client.call_async(GetState.Request())
        return bool(self._answer.done()) or self._n_same >= 2
