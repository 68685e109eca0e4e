"""The lifecycle node ``seg_ros``: declare, configure, activate, and hand every image to the worker.

One thread runs the executor: services, timers and a subscription that only fills the worker's mailbox.
"""

import gc
import logging
import platform
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, JumpThreshold
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from seg_ros.errors import ImageError, SegRosError
from seg_ros.inference.drops import Drop, Statistics
from seg_ros.inference.health import Situation, judge
from seg_ros.inference.segmenter import Segmenter
from seg_ros.ros.find_similar import FindSimilarService
from seg_ros.ros.frame_processor import FrameProcessor
from seg_ros.ros.logs import LogForwarder
from seg_ros.ros.messages import diagnostic_array
from seg_ros.ros.parameters import LiveParameters, unknown_overrides
from seg_ros.ros.publishers import Outputs
from seg_ros.ros.subscription import CameraSubscription
from seg_ros.ros.worker import RateLimit, Worker
from seg_ros.segments.history import CodeHistory

_LOOK_PERIOD_S = 0.5
_THROTTLE_S = 5.0


class SegmentationNode(LifecycleNode):
    """Segments the images of a camera; docs/node.md lists topics and parameters.

    Args:
        options: Options of ``rclpy.node.Node``, e.g. ``context``, ``parameter_overrides``, ``cli_args``.

    Raises:
        ParameterError: A parameter given at start is refused.
    """

    def __init__(self, **options: Any) -> None:
        # First of all: a context that shuts down destroys half-built nodes, too.
        self._lifecycle_state, self._failure = 'unconfigured', ''
        self._to_undo = ExitStack()
        self._segmenter: Segmenter | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker[Any] | None = None
        self._camera: CameraSubscription | None = None
        self._find_similar: FindSimilarService | None = None
        self._statistics = Statistics()
        self._rate_limit = RateLimit()
        super().__init__('seg_ros', **options)
        self._live = LiveParameters(self, lambda: self._lifecycle_state, self._on_parameters)
        self._warn_of_unknown_parameters()
        forwarder = LogForwarder(logging.getLogger('seg_ros'), self.get_logger())
        self._to_undo.callback(forwarder.close)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Not the node's clock, which stands still while a simulation is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._live.settings.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_timer(_LOOK_PERIOD_S, self._look_at_camera, clock=steady)
        if self._live.settings.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)
        back_or_changed = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        jumps = self.get_clock().create_jump_callback(
            back_or_changed, post_callback=lambda _: self._statistics.forget()
        )
        self._to_undo.callback(jumps.unregister)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('configure', 'configuring', 'inactive', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('activate', 'activating', 'active', lambda: self._activate(state))

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('deactivate', 'deactivating', 'inactive', lambda: self._deactivate(state))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('clean up', 'cleaningup', 'unconfigured', self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._transit('shut down', 'shuttingdown', 'finalized', self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        failure = self._failure
        answer = self._transit('recover', 'errorprocessing', 'unconfigured', self._release)
        self._failure = failure
        return answer

    def destroy_node(self) -> None:
        """Release everything; waits for the frame in work."""
        self._release()
        self._to_undo.close()
        super().destroy_node()

    def _transit(
        self, name: str, meanwhile: str, goal: str, step: Callable[[], None]
    ) -> TransitionCallbackReturn:
        """Run a transition's step; its exceptions are logged here, since rclpy drops them silently."""
        before, self._lifecycle_state = self._lifecycle_state, meanwhile
        self._failure = ''
        try:
            step()
        except Exception as err:
            if not self.context.ok():  # a signal has shut rclpy down; rclpy lets this exception pass
                raise KeyboardInterrupt from err
            is_foreseen = isinstance(err, SegRosError)
            self.get_logger().error(f'cannot {name}: {err if is_foreseen else traceback.format_exc()}')
            first_line = str(err).partition('\n')[0] or repr(err)
            self._failure = f'{name} failed: {first_line}'
            self._lifecycle_state = before
            if before == 'unconfigured':
                self._release()
            return TransitionCallbackReturn.FAILURE if is_foreseen else TransitionCallbackReturn.ERROR
        self._lifecycle_state = goal
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        settings = self._live.settings
        self.get_logger().info(f'loading model {settings.model}')
        self._publish_diagnostics()  # loading may take long, and no service is answered meanwhile
        self._outputs = outputs = Outputs(self)

        def prepare() -> FrameProcessor:
            self._segmenter = segmenter = Segmenter.load(settings)
            self._introduce(segmenter)
            if segmenter.code_pooling:
                history = CodeHistory(
                    segmenter.codebook, segmenter.code_pooling.n_bits, settings.segments_history
                )
                self._find_similar = FindSimilarService(self, history)
            return FrameProcessor(
                segmenter,
                history if segmenter.code_pooling else None,
                outputs,
                self._statistics,
                settings=lambda: self._live.settings,
                now_ns=lambda: int(self.get_clock().now().nanoseconds),
                is_active=lambda: self._lifecycle_state == 'active',
                report_error=self._report_error,
            )

        self._worker = Worker(prepare, is_over=lambda: not self.context.ok())

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
        settings = self._live.settings
        self._camera = CameraSubscription(
            self, self._on_image, settings.image_transport, settings.input_reliability
        )
        super().on_activate(state)
        self._statistics.forget()
        self._announce()
        self.get_logger().info(f'segmenting {self._camera.topic}')

    def _deactivate(self, state: LifecycleState) -> None:
        self._close_camera()
        if self._worker:
            self._worker.clear()
        super().on_deactivate(state)

    def _release(self) -> None:
        """Free everything made by configure and activate; may be called at any time."""
        self._close_camera()
        if self._worker:
            self._worker.close()  # first, since it publishes
            self._worker = None
        if self._find_similar:
            self._find_similar.close()
            self._find_similar = None
        if self._outputs:
            self._outputs.destroy()
            self._outputs = None
        if self._segmenter:
            self._segmenter = None
            gc.collect()  # networks refer to themselves in circles
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _close_camera(self) -> None:
        if self._camera:
            self._camera.close()
            self._camera = None

    def _on_image(self, message: Any) -> None:
        self._statistics.receive()
        if not self._rate_limit.is_due(time.monotonic(), self._live.settings.max_rate_hz):
            self._statistics.drop(Drop.OVER_RATE)
        elif self._worker and self._worker.submit(message):
            self._statistics.drop(Drop.REPLACED)

    def _on_parameters(self) -> None:
        if self._lifecycle_state == 'active':
            self._announce()

    def _announce(self) -> None:
        if self._outputs and self._segmenter:
            self._outputs.announce(self._segmenter, self._live.settings.confidence_threshold)

    def _look_at_camera(self) -> None:
        if self._camera:
            self._camera.look()

    def _report_error(self, err: Exception) -> None:
        """Log the error of a frame, at most every few seconds."""
        if not self.context.ok():  # a signal has shut rclpy down during this frame
            return
        if isinstance(err, ImageError):
            self.get_logger().warning(f'bad image: {err}', throttle_duration_sec=_THROTTLE_S)
        else:
            text = ''.join(traceback.format_exception(type(err), err, err.__traceback__))
            self.get_logger().error(f'a frame failed: {text}', throttle_duration_sec=_THROTTLE_S)

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        for step in (self.trigger_configure, self.trigger_activate):
            if step() != TransitionCallbackReturn.SUCCESS:
                self.get_logger().fatal(
                    f'autostart: {self._failure}. The node waits in state {self._lifecycle_state}'
                )
                return

    def _publish_diagnostics(self) -> None:
        verdict = judge(self._situation(), self._statistics.summary())
        name = f'{self.get_fully_qualified_name().lstrip("/")}: segmentation'
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(verdict, name, platform.node(), stamp))

    def _situation(self) -> Situation:
        facts = {}
        if self._segmenter:
            facts = {
                'model': str(self._segmenter.model.path),
                'digest': self._segmenter.model.digest,
                'backend': self._segmenter.backend_name,
                'device': str(self._segmenter.device),
                'quantization': self._segmenter.quantization,
            }
        return Situation(
            state=self._lifecycle_state,
            failure=self._failure,
            topic=self._camera.topic if self._camera else '',
            n_publishers=self._camera.n_publishers if self._camera else 0,
            qos_mismatch=self._camera.qos_mismatch if self._camera else '',
            n_subscribers=self._outputs.n_subscribers if self._outputs else 0,
            max_age_ms=self._live.settings.max_age_ms,
            facts=facts,
        )

    def _warn_of_unknown_parameters(self) -> None:
        for name, meant in unknown_overrides(self).items():
            hint = f"; did you mean '{meant}'?" if meant else ''
            self.get_logger().warning(f"parameter '{name}' does not exist, its value is ignored{hint}")
