"""The executable ``seg_node``: runs the lifecycle node until a signal comes.

Heavy modules are imported within `main`, so that a signal during these seconds ends the process as quietly
as at any other moment.
"""

import contextlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from seg_ros.inference.process import keep_freed_memory, limit_thread_spinning


def main(words: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        words: Command line, with ``--ros-args``; None = that of the process.

    Returns:
        Exit code: 0 after a signal, 1 if the node cannot start.
    """
    limit_thread_spinning()
    keep_freed_memory()
    interrupts = _Interrupts()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupts)
    try:
        return _run(sys.argv if words is None else words, interrupts)
    except KeyboardInterrupt:
        return 0


class _Interrupted(KeyboardInterrupt):
    """A signal came.

    A plain KeyboardInterrupt that passes through exec() of a string (dataclasses do that during imports)
    marks the interpreter to die of SIGINT at exit, even if it is caught; a subclass does not.
    """


class _Interrupts:
    """Handler of SIGINT and SIGTERM: both raise KeyboardInterrupt until rclpy ends everything by itself.

    rclpy's own handler shuts its context down, which ends the executor, and calls this one. An exception in
    the middle of a callback would only do harm then: it leaves Python's locks and threads half way.
    """

    def __init__(self) -> None:
        self._has_come, self._raises = False, True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._has_come = True
        if self._raises:
            raise _Interrupted

    def check(self) -> None:
        """Raise the KeyboardInterrupt that an import has swallowed, if any."""
        if self._has_come:
            raise _Interrupted

    def leave_to_rclpy(self) -> None:
        """Raise no more; a signal that has come already is raised here."""
        self._raises = False
        self.check()


def _run(words: Sequence[str], interrupts: _Interrupts) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from seg_ros.errors import ParameterError
    from seg_ros.ros.node import SegmentationNode

    interrupts.check()
    sys.unraisablehook = _report_unraisable
    rclpy.init(args=list(words))
    node = None
    try:
        node = SegmentationNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        interrupts.leave_to_rclpy()
        executor.spin()
    except ParameterError as err:
        rclpy.logging.get_logger('seg_ros').fatal(f'cannot start: {err}')
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise
        # Else a signal has shut rclpy down in the middle of a callback.
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the process is ending already
        with contextlib.suppress(ExternalShutdownException):
            if node:
                node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _report_unraisable(problem: Any) -> None:
    """Report exceptions of destructors, except those of rclpy loggers left half built by a signal."""
    if not (isinstance(problem.exc_value, AttributeError) and 'RcutilsLogger' in repr(problem.object)):
        sys.__unraisablehook__(problem)


if __name__ == '__main__':
    sys.exit(main())
