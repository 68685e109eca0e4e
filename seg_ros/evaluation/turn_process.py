"""A process that works in turns with others, and answers through a pipe.

Threads, allocators and settings of one library stay away from the others, and a crash stops nobody else.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from seg_ros.errors import UnavailableError

REST_S = 0.02
"""Pause between turns, in which waiting threads of the last process fall asleep."""


class TurnProcess:
    """A process that answers questions, one at a time; it ends when the context is left.

    Args:
        serve: Function that runs in the process, with its end of the pipe and the subject. It sends answers
            until the pipe closes; a text as answer is the reason of a failure.
        subject: What the process works on; it is pickled.
    """

    def __init__(self, serve: Callable[[Connection, Any], None], subject: Any) -> None:
        context = multiprocessing.get_context('spawn')  # a fork would inherit memory, libraries and threads
        self._connection, self._theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(self._theirs, subject), daemon=True)

    def __enter__(self) -> 'TurnProcess':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()  # then the process ends
        if self.is_started:
            self._process.join(10)
            self._process.kill()
            self._process.join()

    @property
    def is_started(self) -> bool:
        """Whether the process was started."""
        return self._process.pid is not None

    def start(self) -> None:
        """Start the process."""
        self._process.start()
        self._theirs.close()  # so that the end of the process is noticed

    def ask(self, question: Any) -> Any:
        """Send a question, and wait for the answer.

        Raises:
            UnavailableError: The process failed; the message has the reason.
        """
        try:
            self._connection.send(question)
        except OSError as err:
            raise self._ended() from err
        return self.answer()

    def answer(self) -> Any:
        """Wait for an answer; raises as :meth:`ask`."""
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as err:
            raise self._ended() from err
        if isinstance(answer, str):
            raise UnavailableError(answer)
        return answer

    def _ended(self) -> UnavailableError:
        self._process.join(10)
        return UnavailableError(
            f'its process ended with exit code {self._process.exitcode}; is there enough memory?'
        )
