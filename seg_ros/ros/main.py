"""The executable ``seg_node``: runs the lifecycle node until a signal comes.

Everything heavy is imported within `main`, so that a signal during the seconds which that takes ends the
process as quietly as at any other moment.
"""

import contextlib
import ctypes
import platform
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt, from the header malloc.h of glibc."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the node.

    Args:
        words: command line, with ``--ros-args``; None = that of the process.

    Returns:
        Exit code: 0 after a signal, 1 if the node cannot start.
    """
    keep_frame_memory()
    interrupts = _Interrupts()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupts)
    try:
        return _run(sys.argv if words is None else words, interrupts)
    except KeyboardInterrupt:
        return 0
    finally:
        # One that was raised within exec() of a string, as of dataclasses during imports, has marked the
        # process to die of SIGINT in the end, although it was caught. Evaluating a string removes the mark.
        eval('0')


def keep_frame_memory() -> None:
    """Have glibc keep the memory of a frame for the next one, not map and give back megabytes every time."""
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, 256 * 1024 * 1024)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)


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
            signal.default_int_handler(number, frame)

    def check(self) -> None:
        """Raise the KeyboardInterrupt that something has swallowed, if any."""
        if self._has_come:
            raise KeyboardInterrupt

    def leave_to_rclpy(self) -> None:
        """Raise no more; a signal that has come already is raised here."""
        self._raises = False
        self.check()


def _run(words: Sequence[str], interrupts: _Interrupts) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from seg_ros.errors import ParameterError
    from seg_ros.ros.node import SegmentationNode

    interrupts.check()  # whatever was being imported may have lost it
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
        # Else a signal has shut rclpy down under whatever was in work.
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # we are on our way
        with contextlib.suppress(ExternalShutdownException):
            if node:
                node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _report_unraisable(problem: Any) -> None:
    """Report what a destructor raises, but for rclpy's loggers that a signal has left half built."""
    if not (isinstance(problem.exc_value, AttributeError) and 'RcutilsLogger' in repr(problem.object)):
        sys.__unraisablehook__(problem)


if __name__ == '__main__':
    sys.exit(main())
