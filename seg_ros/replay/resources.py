"""Processor time and memory that a process takes, read from ``/proc``."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UTIME, _STIME = 11, 12
"""Places of user and system time among the fields of ``/proc/PID/stat`` after the name (proc(5))."""


@dataclass(frozen=True)
class Resources:
    """Use of a process over a time.

    Attributes:
        cpu_cores: Processor time per time; 1 = one core all the time.
        peak_memory_mb: Largest resident memory since the process started, in 10^6 bytes.
    """

    cpu_cores: float
    peak_memory_mb: float

    def as_json(self) -> dict[str, Any]:
        """The figures under the keys of all reports."""
        return {'cpu_cores': self.cpu_cores, 'peak_memory_mb': self.peak_memory_mb}


class ResourceMeter:
    """Measures a process from now on.

    Args:
        pid: Id of the process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f'/proc/{pid}')
        self._started_s, self._cpu_s = time.monotonic(), self._cpu_time_s()

    def read(self) -> Resources | None:
        """Use of the process since the meter was made; None if the process or ``/proc`` is gone."""
        seconds, now_s = time.monotonic() - self._started_s, self._cpu_time_s()
        peak_bytes = self._peak_bytes()
        if now_s is None or self._cpu_s is None or peak_bytes is None or seconds <= 0:
            return None
        return Resources((now_s - self._cpu_s) / seconds, peak_bytes / 1e6)

    def _cpu_time_s(self) -> float | None:
        """User and system time of all threads so far."""
        text = self._text('stat')
        if text is None:
            return None
        fields = text.rpartition(')')[2].split()  # the name before may have blanks
        return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf('SC_CLK_TCK')

    def _peak_bytes(self) -> int | None:
        found = re.search(r'VmHWM:\s+(\d+) kB', self._text('status') or '')
        return 1024 * int(found[1]) if found else None

    def _text(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text(errors='replace')
        except OSError:
            return None
