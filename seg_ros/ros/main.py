"""The executable ``seg_node``: runs the lifecycle node until a signal comes.

A signal ends the process quietly at any moment. While modules are imported it ends at once, since nothing has
to be cleaned up. Later rclpy ends the executor, and the node is destroyed as far as a moment allows.
"""

import _thread
import logging
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)
"""Signals that end the process. ``scripts/seg_node`` starts Python with both of them held back."""
_LIMIT_S = 0.8
"""Time from a signal to the end of the process, whatever it is doing."""


class Interrupts:
    """Handler of the signals that end the process. It raises nothing, so no import can swallow a signal.

    Attributes:
        has_come: Whether a signal has come.
        end_at_once: Whether a signal ends the process within the handler; else rclpy ends the executor.
    """

    def __init__(self) -> None:
        self.has_come, self.end_at_once, self._has_limit = False, True, False
        for number in ENDING:
            signal.signal(number, self)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True
        if self.end_at_once:
            os._exit(0)
        logging.disable()  # ROS complains about messages that come after its end
        if not self._has_limit:
            self._has_limit = True
            _thread.start_new_thread(_end_late, ())  # Thread.start takes a lock that this thread may hold


def _end_late() -> None:
    """End the process after a moment, since an import of torch that goes on cannot be stopped."""
    from seg_ros.inference.process import end_now

    time.sleep(_LIMIT_S)
    end_now(0)


def main() -> NoReturn:
    """Run the node with the command line of the process, and end the process.

    Exit code: 0 after a signal or ``--help``; 1 if the node cannot start or fails; 2 for an unknown argument.
    """
    interrupts = Interrupts()
    from seg_ros.ros.program import run_program

    run_program(sys.argv, interrupts)


if __name__ == '__main__':
    main()
