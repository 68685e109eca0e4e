"""A lifecycle node that answers everything while it configures.

rclpy runs a transition within its service call, so that a node which loads for seconds answers nobody
meanwhile. Here the configure transition waits in the background: the service ``~/change_state`` answers it
when it has ended, and the executor serves everything else until then. Source: the state machine of
https://design.ros2.org/articles/node_lifecycle.html.
"""

from abc import abstractmethod
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from seg_ros.schema import shown

_RCLError: type[Exception] = rclpy_implementation.RCLError
_THROTTLE_S = 1.0
_FIRST_END = Transition.TRANSITION_ON_CONFIGURE_SUCCESS
"""Smallest number of the transitions that end another one."""


class BackgroundLifecycleNode(LifecycleNode):
    """Lifecycle node whose configure transition works in the background.

    A subclass starts its work in :meth:`begin_configure` and takes its result in :meth:`end_configure`.
    ``trigger_configure()`` of rclpy runs both, and blocks as every transition of rclpy does.

    Args:
        name: Name of the node.
        options: Options of ``rclpy.node.Node``.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        service = self._service_change_state
        self._change_state_at_once = service.callback
        # A request that waits must not keep the others waiting, as it would in the node's own group.
        group = ReentrantCallbackGroup()
        group.add_entity(service)
        service.callback, service.callback_group = self._on_change_state, group

    def destroy_node(self) -> None:
        """Destroy the node and its state machine, which would keep it visible to others until it is freed."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    @abstractmethod
    def begin_configure(self) -> 'Future[None]':
        """Start to configure; the future is done, in the executor's thread, when the work has ended."""

    @abstractmethod
    def end_configure(self) -> TransitionCallbackReturn:
        """Take the result of the work, and return the outcome of the transition."""

    @abstractmethod
    def wait_for_configure(self) -> None:
        """Block until the work has ended."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.begin_configure()
        self.wait_for_configure()
        return self.end_configure()

    async def configure(self) -> TransitionCallbackReturn:
        """Configure in the background; FAILURE at once where the state does not allow it."""
        if not self._advance(Transition.TRANSITION_CONFIGURE):
            return TransitionCallbackReturn.FAILURE
        await self.begin_configure()
        outcome = self.end_configure()
        self._advance(outcome.to_label())
        if outcome == TransitionCallbackReturn.ERROR:
            before = LifecycleState('unconfigured', 1)
            self._advance(self.on_error(before).to_label())
        return outcome

    async def _on_change_state(self, request: Any, response: Any) -> Any:
        """Answer a request; rclpy answers all but configure."""
        transition = self._find(request.transition)
        if transition is None:
            response.success = False
        elif transition == Transition.TRANSITION_CONFIGURE:
            response.success = await self.configure() == TransitionCallbackReturn.SUCCESS
        else:
            response = self._change_state_at_once(request, response)
        return response

    def _find(self, asked: Transition) -> int | None:
        """Number of a transition asked for by label or number; None, with a warning, if it is impossible."""
        # rcl lists the ends of transitions too, e.g. transition_success; they are not for clients.
        steps = [t for t in self._state_machine.available_transitions if t[0] < _FIRST_END]
        possible = {label: int(number) for number, label, *_ in steps}
        number = possible.get(asked.label, -1) if asked.label else int(asked.id)
        if number in possible.values():
            return number
        state, labels = self._state_machine.current_state[1], ', '.join(possible)
        self.get_logger().warning(
            f'transition {shown(asked.label or int(asked.id))} is refused: the node is {state}; '
            f'possible: {labels or "none until this ends"}',
            throttle_duration_sec=_THROTTLE_S,
        )
        return None

    def _advance(self, transition: int | str) -> bool:
        """Move the state machine; returns whether it could."""
        machine = self._state_machine
        try:
            if isinstance(transition, str):
                machine.trigger_transition_by_label(transition, True)
            else:
                machine.trigger_transition_by_id(transition, True)
        except _RCLError as err:
            self.get_logger().error(f"transition '{transition}' failed: {err}")
            return False
        return True
