"""The lifecycle node ``seg_ros``: declare, configure, activate, and hand every image to the worker.

One thread runs the executor: services, timers and a subscription that only fills the worker's mailbox.
"""

import logging
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, JumpThreshold
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from seg_ros.errors import ImageError, ParameterError, SegRosError
from seg_ros.inference.drops import Drop, Statistics
from seg_ros.inference.latency_budget import LatencyBudget
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import likely_needs_torch
from seg_ros.inference.settings import Settings
from seg_ros.ros.bond import Bond
from seg_ros.ros.find_similar import FindSimilarService
from seg_ros.ros.frame_processor import Frame, FrameContext, FrameProcessor
from seg_ros.ros.guard import guard_services
from seg_ros.ros.lifecycle import BackgroundLifecycleNode
from seg_ros.ros.logs import LogForwarder
from seg_ros.ros.model_slot import ModelSlot, Progress, first_line
from seg_ros.ros.parameters import LiveParameters, unknown_overrides
from seg_ros.ros.publishers import Outputs
from seg_ros.ros.raw_subscriptions import RawSubscriptions
from seg_ros.ros.shared_memory import check_hearing
from seg_ros.ros.status import Status, StatusPublisher
from seg_ros.ros.subscription import CameraSubscription
from seg_ros.ros.worker import RateLimit

_LOOK_PERIOD_S = 0.5
_HEARING_PERIOD_S = 2.0
_SETTLE_S = 0.1
"""Time after which parameters are taken together that are set one after the other."""
_THROTTLE_S = 5.0
_ANNOUNCE_S = 1.0
"""Time after which another model is announced even if no frame has come for it."""
_PATIENCE_S = 10.0
"""Time that an unconfigured node waits before it says that it waits."""


class SegmentationNode(RawSubscriptions, BackgroundLifecycleNode):
    """Segments the images of a camera; docs/node.md lists topics and parameters.

    Models load in the background. Every service is answered meanwhile, and a model that runs goes on.

    Args:
        options: Options of ``rclpy.node.Node``, e.g. ``context``, ``parameter_overrides``, ``cli_args``.

    Raises:
        ParameterError: A parameter given at start is refused.
    """

    def __init__(self, **options: Any) -> None:
        # First of all: a context that shuts down destroys half-built nodes, too.
        self._status = Status()
        self._to_undo = ExitStack()
        self._outputs: Outputs | None = None
        self._camera: CameraSubscription | None = None
        self._bond: Bond | None = None
        self._find_similar: FindSimilarService | None = None
        self._configured: Future[None] | None = None
        self._configure_error: BaseException | None = None
        self._statistics, self._budget = Statistics(), LatencyBudget()
        self._rate_limit, self._rate_in_hz = RateLimit(), 0.0
        self._introduced: FrameProcessor | None = None
        self._swapped_s, self._loaded_settings, self._full_size = 0.0, Settings(), (0, 0)
        super().__init__('seg_ros', **options)
        self._models = ModelSlot(self, self._prepare, self._on_loaded)
        self._live = LiveParameters(self, lambda: self._status.state, self._on_parameters)
        if likely_needs_torch(self.settings):
            import torch  # noqa: F401 - before the node answers, since nothing else runs meanwhile
        self._warn_of_unknown_parameters()
        forwarder = LogForwarder(logging.getLogger('seg_ros'), self.get_logger())
        self._to_undo.callback(forwarder.close)
        self._diagnostics = StatusPublisher(self, self._status, self._statistics, self._models, self._budget)
        guard_services(self)
        self._start_timers()
        back_or_changed = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        jumps = self.get_clock().create_jump_callback(
            back_or_changed, post_callback=lambda _: self._statistics.forget()
        )
        self._to_undo.callback(jumps.unregister)

    @property
    def settings(self) -> Settings:
        """Values of the parameters."""
        return self._live.settings

    @property
    def segmenter(self) -> Segmenter | None:
        """The running segmenter; None if no model runs."""
        return self._models.processor.segmenter if self._models.processor else None

    def begin_configure(self) -> 'Future[None]':
        self._status.state, self._status.failure, self._status.swap_failure = 'configuring', '', ''
        self._configured, self._configure_error = Future(), None
        self.get_logger().info(f'loading model {self.settings.model}')
        try:
            self._outputs = Outputs(self)
        except Exception as err:  # noqa: BLE001 - raised again by end_configure
            self._on_loaded(err)
        else:
            self._models.want(self.settings)
        return self._configured

    def wait_for_configure(self) -> None:
        self._models.wait()

    def end_configure(self) -> TransitionCallbackReturn:
        return self._transit('configure', 'configuring', 'inactive', self._take_model, before='unconfigured')

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('activate', 'activating', 'active', lambda: self._activate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('deactivate', 'deactivating', 'inactive', lambda: self._deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('clean up', 'cleaningup', 'unconfigured', self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('shut down', 'shuttingdown', 'finalized', self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        failure = self._status.failure
        answer = self._transit('recover', 'errorprocessing', 'unconfigured', self._release)
        self._status.failure = failure
        return answer

    def set_parameters(self, parameter_list: list[Any]) -> list[SetParametersResult]:
        """Set parameters one by one, as every node does, but with refusals of wrong types in words."""
        set_all = super().set_parameters_atomically
        return [self._set([parameter], set_all) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Any]) -> SetParametersResult:
        """Set all parameters or none; see :meth:`set_parameters`."""
        return self._set(parameter_list, super().set_parameters_atomically)

    def is_busy(self) -> bool:
        """Whether a model still loads in the background after :meth:`destroy_node`."""
        return self._models.is_busy()

    def destroy_node(self) -> None:
        """Release everything; waits for the frame in work."""
        self._release()
        self._to_undo.close()
        super().destroy_node()

    def _start_timers(self) -> None:
        # Not the node's clock, which stands still while a simulation is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.settings.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_timer(_LOOK_PERIOD_S, self._look, clock=steady)
        self.create_timer(_HEARING_PERIOD_S, check_hearing, clock=steady)
        self._settle_timer = self.create_timer(_SETTLE_S, self._settle, clock=steady)
        self._settle_timer.cancel()
        self._patience_timer = self.create_timer(_PATIENCE_S, self._say_what_it_waits_for, clock=steady)
        if self.settings.autostart:
            # Its callback waits, and would keep others of the node's own group waiting.
            group = ReentrantCallbackGroup()
            start: Any = self._autostart  # rclpy awaits it, but its types do not say so
            self._autostart_timer = self.create_timer(0.0, start, callback_group=group, clock=steady)

    def _set(
        self, parameters: list[Any], set_all: Callable[[list[Any]], SetParametersResult]
    ) -> SetParametersResult:
        live = getattr(self, '_live', None)
        if live is None:  # rclpy sets parameters of its own first
            return set_all(parameters)
        try:
            return set_all([live.accepted(parameter) for parameter in parameters])
        except ParameterError as err:
            return SetParametersResult(successful=False, reason=str(err))

    def _transit(
        self, name: str, meanwhile: str, goal: str, step: Callable[[], None], *, before: str = ''
    ) -> TransitionCallbackReturn:
        """Run a transition's step; its exceptions are logged here, since rclpy drops them silently."""
        before, self._status.state = before or self._status.state, meanwhile
        self._status.failure = ''
        try:
            step()
        except Exception as err:
            if not self.context.ok():  # a signal has shut rclpy down; rclpy lets this exception pass
                raise KeyboardInterrupt from err
            is_foreseen = isinstance(err, SegRosError)
            text = err if is_foreseen else ''.join(traceback.format_exception(err))
            self.get_logger().error(f'cannot {name}: {text}')
            self._status.failure = f'{name} failed: {first_line(err)}'
            self._status.state = before
            if before == 'unconfigured':
                self._release()
            return TransitionCallbackReturn.FAILURE if is_foreseen else TransitionCallbackReturn.ERROR
        self._status.state = goal
        return TransitionCallbackReturn.SUCCESS

    def _prepare(self, settings: Settings, before: FrameProcessor | None, report: Progress) -> FrameProcessor:
        """Load a model; in the thread that will run it."""
        assert self._outputs is not None
        segmenter = Segmenter.load(settings, report)
        context = FrameContext(
            outputs=self._outputs,
            statistics=self._statistics,
            budget=self._budget,
            settings=lambda: self.settings,
            now_ns=lambda: int(self.get_clock().now().nanoseconds),
            is_active=lambda: self._status.state == 'active',
            report_error=self._report_error,
        )
        return FrameProcessor(segmenter, settings, context, before)

    def _on_loaded(self, err: BaseException | None) -> None:
        """Take the end of loading: by configure, or by a change of parameters while the node runs."""
        if self._configured and not self._configured.done():
            self._configure_error = err
            self._configured.set_result(None)
        elif err:
            self._roll_back(err)
        else:
            self._take_model()

    def _take_model(self) -> None:
        """Make the model that has loaded the node's model, and introduce it."""
        if self._configure_error:
            raise self._configure_error
        processor = self._models.processor
        if processor is None or processor is self._introduced:
            return
        self._introduced, self._swapped_s = processor, time.monotonic()
        self._status.swap_failure = ''
        if self._budget.step.scale == 1.0:
            self._loaded_settings, self._full_size = processor.loaded_with, processor.segmenter.input_size
        self._budget.forget()
        self._serve_history(processor)
        self._introduce(processor.segmenter)
        if self._status.state == 'active' and not self._statistics.summary().recently_in:
            processor.announce()  # no frame will do it soon

    def _roll_back(self, err: BaseException) -> None:
        """Go on with the model that runs, after another one could not be loaded."""
        text = first_line(err) if isinstance(err, SegRosError) else ''.join(traceback.format_exception(err))
        if self._budget.index:
            self.get_logger().warning(f"step '{self._budget.step.name}' of the latency budget: {text}")
            self._budget.refuse()
            self._reload()
            return
        model = self.settings.model
        self._status.swap_failure = f'model {model} was not taken: {first_line(err)}'
        running = self._models.processor
        if running:
            self.get_logger().error(f'cannot load {model}, {running.segmenter.model.path} runs on: {text}')
            self._live.restore_loading(self._loaded_settings)

    def _serve_history(self, processor: FrameProcessor) -> None:
        """Offer the service that searches the codes of a model with codes."""
        if self._find_similar:
            self._find_similar.close()
            self._find_similar = None
        if processor.history is not None:
            self._find_similar = FindSimilarService(self, processor.history)

    def _introduce(self, segmenter: Segmenter) -> None:
        """Log model, backend and licence."""
        height, width = segmenter.input_size
        self.get_logger().info(
            f'model {segmenter.model.path} runs on {segmenter.backend_name}, {segmenter.quantization}, '
            f'{segmenter.device}, at {width}x{height}; it gives the recorded label for '
            f'{segmenter.agreement:.1%} of its golden pixels'
        )
        if not segmenter.code_pooling:
            self.get_logger().info(
                'the model has no codes: ~/segments, ~/segment_ids and ~/segments_overlay stay silent'
            )
        self.get_logger().info(f'licence of its weights: {segmenter.model.metadata.licence or "not stated"}')

    def _activate(self, state: LifecycleState) -> None:
        settings = self.settings
        self._camera = CameraSubscription(
            self,
            self._on_image,
            self._on_bad_message,
            settings.image_transport,
            settings.input_reliability,
            self._statistics.lose,
        )
        super().on_activate(state)
        self._statistics.forget()
        if self._models.processor:
            self._models.processor.announce()
        self._bond = Bond(self)
        self.get_logger().info(f'segmenting {self._camera.topic}')

    def _deactivate(self, state: LifecycleState) -> None:
        self._leave_active()
        self._models.mailbox.clear()
        super().on_deactivate(state)

    def _release(self) -> None:
        """Free everything made by configure and activate; may be called at any time."""
        self._leave_active()
        if hasattr(self, '_models'):  # else the node is half built
            self._models.release()  # first, since it publishes
        self._introduced = None
        self._budget.reset()
        self._status.swap_failure = ''
        if self._find_similar:
            self._find_similar.close()
            self._find_similar = None
        if self._outputs:
            self._outputs.destroy()
            self._outputs = None

    def _leave_active(self) -> None:
        if self._bond:
            self._bond.close()
            self._bond = None
        if self._camera:
            self._camera.close()
            self._camera = None

    def _on_image(self, message: Any) -> None:
        self._statistics.receive()
        now_s = time.monotonic()
        rate_hz = self._budget.max_rate_hz(self.settings.max_rate_hz, self._rate_in_hz)
        if not self._rate_limit.is_due(now_s, rate_hz):
            self._statistics.drop(Drop.OVER_RATE)
        elif self._models.mailbox.submit(Frame(message, now_s)):
            self._statistics.drop(Drop.REPLACED)

    def _on_bad_message(self, err: ImageError) -> None:
        self._statistics.receive()
        self._statistics.drop(Drop.BAD, str(err))
        self._report_error(err)

    def _on_parameters(self) -> None:
        if self._status.state == 'active' and self._models.processor:
            self._models.processor.announce()
        if self._status.state != 'unconfigured':
            self._settle_timer.reset()

    def _settle(self) -> None:
        """Load another model if parameters that have just changed ask for it."""
        self._settle_timer.cancel()
        if self._status.state not in ('configuring', 'inactive', 'active'):
            return
        if not self.settings.loads_like(self._loaded_settings):
            self._budget.reset()
            self._status.swap_failure = ''
        self._reload()

    def _reload(self) -> None:
        """Load the model that parameters and latency budget ask for, unless it runs."""
        settings = self.settings
        self._models.want(self._budget.applied(settings, self._full_size))

    def _look(self) -> None:
        """Look at everything that changes by itself."""
        if self._camera:
            self._camera.look()
        self._rate_in_hz = self._statistics.summary().rate_in_hz
        self._models.tidy()
        self._diagnostics.count_namesakes()
        processor = self._models.processor
        if self._status.state != 'active' or processor is None:
            return
        if time.monotonic() - self._swapped_s > _ANNOUNCE_S:
            processor.announce_once()
        processor.sizes.tidy()
        if not self._models.progress:
            self._keep_budget(processor)

    def _keep_budget(self, processor: FrameProcessor) -> None:
        """Take a step of the latency budget if it is due."""
        budget_ms = self.settings.latency_budget_ms
        if not self._budget.update(budget_ms, time.monotonic(), has_segments=processor.finds_segments()):
            return
        self.get_logger().warning(self._budget.describe(budget_ms))
        self._reload()

    def _report_error(self, err: Exception) -> None:
        """Log the error of a frame, at most every few seconds."""
        if not self.context.ok():  # a signal has shut rclpy down during this frame
            return
        if isinstance(err, ImageError):
            self.get_logger().warning(f'bad image: {err}', throttle_duration_sec=_THROTTLE_S)
        else:
            text = ''.join(traceback.format_exception(type(err), err, err.__traceback__))
            self.get_logger().error(f'a frame failed: {text}', throttle_duration_sec=_THROTTLE_S)

    async def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        success = TransitionCallbackReturn.SUCCESS
        if await self.configure() == success and self.trigger_activate() == success:
            return
        self.get_logger().fatal(
            f'autostart: {self._status.failure}. The node waits in state {self._status.state}'
        )

    def _say_what_it_waits_for(self) -> None:
        self.destroy_timer(self._patience_timer)
        if self._status.state == 'unconfigured' and not self._status.failure:
            self.get_logger().info(
                "unconfigured: waiting for the transition 'configure', by a lifecycle manager, by "
                f'"ros2 lifecycle set {self.get_fully_qualified_name()} configure", or start it with the '
                'parameter autostart'
            )

    def _publish_diagnostics(self) -> None:
        self._diagnostics.publish(self.settings, self._camera, self._outputs)

    def _warn_of_unknown_parameters(self) -> None:
        for name, meant in unknown_overrides(self).items():
            hint = f"; did you mean '{meant}'?" if meant else ''
            self.get_logger().warning(f"parameter '{name}' does not exist, its value is ignored{hint}")
