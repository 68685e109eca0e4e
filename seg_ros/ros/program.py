"""The program ``seg_node`` from its command line to its end."""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from seg_ros._numba import leave_out_extras
from seg_ros.errors import ParameterError, TransportError
from seg_ros.inference.loops_ahead import serve_meanwhile
from seg_ros.inference.memory import keep_freed_memory
from seg_ros.inference.process import end_now, limit_thread_spinning
from seg_ros.ros.arguments import (
    Arguments,
    check_domain,
    explain_ros_error,
    parse_arguments,
    refuse_unknown,
    refused_by_ros,
)
from seg_ros.ros.help import help_text
from seg_ros.ros.main import ENDING, Interrupts
from seg_ros.ros.parameter_files import name_origin, warning_if_useless

if TYPE_CHECKING:
    from seg_ros.ros.node import SegmentationNode

_FAILED, _MISUSED = 1, 2
_PATIENCE_S = 0.5
"""Time that the node gets to end its threads and to say goodbye to other nodes."""
_LIMIT_S = 1.2
"""Time after which the process ends even if a library holds Python's lock."""


def run_program(words: list[str], interrupts: Interrupts) -> NoReturn:
    """Run the node until a signal comes, then end the process.

    Args:
        words: Command line with the name of the program.
        interrupts: Handler of signals.
    """
    _open_closed_streams()
    try:
        arguments = parse_arguments(words[1:])
        check_domain(os.environ.get('ROS_DOMAIN_ID', ''))
    except ParameterError as err:
        _end_with(_FAILED, f'cannot start: {err}')
    if arguments.wants_help:
        end_now(_print_help())
    if arguments.unknown:
        _end_with(_MISUSED, refuse_unknown(arguments.unknown))
    limit_thread_spinning()
    keep_freed_memory()
    leave_out_extras()
    serve_meanwhile()
    node, code = _start(words, arguments, interrupts)
    if node:
        code = _spin(node, interrupts)
    _leave(node, code)
    end_now(code)


def _open_closed_streams() -> None:
    """Give standard streams that the parent has closed a place that forgets; ROS writes to them."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            mode = 'r' if number == 0 else 'w'
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))  # takes the lowest number


def _print_help() -> int:
    """Print the help; returns the exit code."""
    try:
        print(help_text(), end='', flush=True)
    except OSError as err:
        _complain(f'the help cannot be written: {err}')
        return _FAILED
    return 0


def _start(
    words: list[str], arguments: Arguments, interrupts: Interrupts
) -> tuple['SegmentationNode | None', int]:
    """Start ROS and the node; returns the node, if it could be made, and the exit code so far."""
    try:
        import rclpy

        from seg_ros.ros.node import SegmentationNode

        sys.unraisablehook = _report_unraisable
        interrupts.end_at_once = False  # from here on rclpy's own handler ends the executor
        with _complaints_of_ros_held_back():
            rclpy.init(args=words)
        node = SegmentationNode()
        _warn_of_useless_files(node, arguments)
    except (Exception, KeyboardInterrupt) as err:  # noqa: BLE001 - whatever is raised ends the process in one line
        return None, 0 if interrupts.has_come else _report_start(err, arguments)
    return node, 0


def _spin(node: 'SegmentationNode', interrupts: Interrupts) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if not interrupts.has_come:
            executor.spin()
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    except TransportError as err:
        node.get_logger().fatal(str(err))
        return _FAILED
    except Exception as err:  # noqa: BLE001 - a mistake in a callback is shown in full
        if rclpy.ok() and not interrupts.has_come:
            node.get_logger().fatal(f'stopped by an unexpected error: {_one_line(err)}')
            traceback.print_exc()
            return _FAILED
        # Else a signal has shut rclpy down in the middle of a callback.
    return 0


def _report_start(err: BaseException, arguments: Arguments) -> int:
    """Say in one line why the node cannot start; returns the exit code."""
    refusal = err if isinstance(err, ParameterError) else refused_by_ros(str(err))
    if refusal:
        text = str(name_origin(refusal, arguments.given, arguments.full_name))
    elif type(err).__name__ == 'UnknownROSArgsError':
        text = f'unknown ROS arguments {err}; see --help'
    elif isinstance(err, ImportError):
        text = f'{_one_line(err)}; source the setup file of ROS, or install what is missing'
    else:
        text = explain_ros_error(_one_line(err))
    _complain(f'cannot start: {text}')
    if '--log-level debug' in ' '.join(sys.argv):
        traceback.print_exc()
    return _FAILED


def _warn_of_useless_files(node: 'SegmentationNode', arguments: Arguments) -> None:
    name = node.get_fully_qualified_name()
    for path in dict.fromkeys(arguments.parameter_files):
        warning = warning_if_useless(path, [g for g in arguments.given if g.path == path], name)
        if warning:
            node.get_logger().warning(warning)


def _leave(node: 'SegmentationNode | None', code: int) -> None:
    """Destroy the node and leave ROS, or end the process if this takes too long."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # the process is ending already
    limit = threading.Timer(_PATIENCE_S, end_now, [code])
    limit.daemon = True
    limit.start()
    with Path(os.devnull).open('w') as nowhere:
        # A thread without Python's lock, for a library that keeps the timer from running.
        faulthandler.dump_traceback_later(_LIMIT_S, exit=True, file=nowhere)
        with suppress(Exception):  # nothing that fails here can be helped, and the exit code tells the reason
            if node:
                node.destroy_node()
            sys.modules['rclpy'].try_shutdown()
        limit.cancel()
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _complaints_of_ros_held_back() -> Iterator[None]:
    """Drop what ROS writes to standard error if it fails; the exception says the same."""
    before, held = os.dup(2), os.memfd_create('seg_node')
    os.dup2(held, 2)
    is_fine = False
    try:
        yield
        is_fine = True
    finally:
        os.dup2(before, 2)
        if is_fine:
            os.write(2, os.pread(held, 1 << 20, 0))
        os.close(before)
        os.close(held)


def _end_with(code: int, text: str) -> NoReturn:
    _complain(text)
    end_now(code)


def _complain(text: str) -> None:
    print(f'[FATAL] [seg_node]: {text}', file=sys.stderr, flush=True)


def _one_line(err: BaseException) -> str:
    return ' '.join(str(err).split()) or repr(err)


def _report_unraisable(problem: Any) -> None:
    """Report exceptions of destructors, except those of rclpy loggers left half built by a signal."""
    if not (isinstance(problem.exc_value, AttributeError) and 'RcutilsLogger' in repr(problem.object)):
        sys.__unraisablehook__(problem)
