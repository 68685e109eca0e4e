"""Notes on the frames of the last seconds, for diagnostics and, when they begin, for the log."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

LASTS_S = 5.0
"""Time for which a note stays after it was told last."""

_LOG_AGAIN_S = 60.0

log = logging.getLogger(__name__)


class Severity(Enum):
    """Level of a status, as in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class _Note:
    told_s: float
    logged_s: float
    severity: Severity
    text: str


class Notes:
    """Notes by subject, to be used from any thread. A subject has one note at a time.

    Args:
        clock: Steady clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._notes: dict[str, _Note] = {}
        self._facts: dict[str, str] = {}

    def tell(self, subject: str, severity: Severity, text: str) -> None:
        """Set the note on a subject; a warning is logged if there was none, at most once a minute.

        Args:
            subject: Subject, of which there are few.
            severity: Level of the note.
            text: The note; empty = there is nothing to tell any more.
        """
        now_s = self._clock()
        with self._lock:
            before = self._notes.get(subject)
            if not text and before is None:
                return
            logged_s = before.logged_s if before else float('-inf')
            is_new = not before or not before.text or now_s - before.told_s > LASTS_S
            is_logged = bool(text) and severity is not Severity.OK and is_new
            is_logged = is_logged and now_s - logged_s > _LOG_AGAIN_S
            self._notes[subject] = _Note(now_s, now_s if is_logged else logged_s, severity, text)
        if is_logged:
            log.warning('%s', text)

    def tell_fact(self, key: str, value: str) -> None:
        """Set a key value; an empty one removes it."""
        with self._lock:
            if value:
                self._facts[key] = value
            else:
                self._facts.pop(key, None)

    def forget(self) -> None:
        """Remove all notes and facts."""
        with self._lock:
            self._facts.clear()
            self._notes = {
                subject: _Note(float('-inf'), note.logged_s, note.severity, '')
                for subject, note in self._notes.items()
            }

    def current(self) -> tuple[tuple[Severity, str], ...]:
        """Notes of the last seconds, in the order in which their subjects first came up."""
        start_s = self._clock() - LASTS_S
        with self._lock:
            notes = list(self._notes.values())
        return tuple((note.severity, note.text) for note in notes if note.text and note.told_s >= start_s)

    def facts(self) -> Mapping[str, str]:
        """Key values."""
        with self._lock:
            return dict(self._facts)
