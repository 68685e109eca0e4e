"""Runs one input on a target, and finds its fault: a foreign error, or too much time or memory."""

import resource
import time
import traceback
from pathlib import Path

from target import ContractError, Target

from seg_ros.errors import SegRosError
from seg_ros.schema import is_plain_text

_LONGEST_MESSAGE = 5000


def limit_memory(target: Target) -> None:
    """Let allocations beyond the limit of a target fail in this process."""
    n_pages = int(Path('/proc/self/statm').read_text().split()[0])
    n_bytes = n_pages * resource.getpagesize() + target.memory + (1 << 29)  # arenas are reserved, not used
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def problem_of(target: Target, data: bytes, folder: Path) -> str:
    """What is wrong with one input, in words that are equal for equal faults; '' = nothing.

    Args:
        target: The target.
        data: The input.
        folder: Folder for files of the target.
    """
    before, start = _peak_bytes(), time.process_time()
    problem = _run(target, data, folder)
    taken, seconds = _peak_bytes() - before, time.process_time() - start
    if not problem and seconds > target.seconds:
        return f'time: more than {target.seconds:g} s'
    if not problem and taken > target.memory:
        return f'memory: more than {target.memory >> 20} MiB'
    return problem


def _run(target: Target, data: bytes, folder: Path) -> str:
    try:
        target.run(data, folder)
    except SegRosError as err:
        return _problem_of_message(err)
    except ContractError as err:
        return f'contract: {err}'
    except Exception as err:  # noqa: BLE001 - a foreign error is the finding
        return f'foreign: {type(err).__name__} at {_place(err)}'
    return ''


def _problem_of_message(err: SegRosError) -> str:
    """Messages are short lines of printable text: an input cannot forge lines of a log."""
    text = str(err)
    if not is_plain_text(text):
        return f'message: control characters, {type(err).__name__} at {_place(err)}'
    if len(text) > _LONGEST_MESSAGE:
        return f'message: {type(err).__name__} of more than {_LONGEST_MESSAGE} characters at {_place(err)}'
    return ''


def _place(err: BaseException) -> str:
    """File and line of seg_ros where an error was raised or passed last."""
    frames = traceback.extract_tb(err.__traceback__)
    own = [frame for frame in frames if 'seg_ros/' in frame.filename.rpartition('site-packages')[2]]
    last = (own or frames)[-1]
    return f'{last.filename.rpartition("seg_ros/")[2]}:{last.lineno}'


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
