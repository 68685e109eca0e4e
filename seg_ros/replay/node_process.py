"""The real node in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import yaml

from seg_ros.errors import UnavailableError
from seg_ros.inference.parameter import Value

_N_LOG_LINES = 12
_STOP_TIMEOUT_S = 10.0


class NodeProcess:
    """The lifecycle node, started but not configured; a context manager that stops it.

    Ctrl-C does not reach the process, so the caller decides when it ends.

    Args:
        parameters: Values of parameters by name; the other parameters keep their defaults.
        remappings: Topic of the node -> topic to use instead.
        variables: Environment variables to add to those of this process.
    """

    def __init__(
        self,
        parameters: Mapping[str, Value],
        remappings: Mapping[str, str],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._parameters, self._remappings = parameters, remappings
        self._variables = dict(variables or {})
        self._folder = TemporaryDirectory(prefix='seg_ros_node_')
        self._log = Path(self._folder.name) / 'log'
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Id of the process; None before it is started."""
        return self._process.pid if self._process else None

    def check(self) -> None:
        """Do nothing if the node runs.

        Raises:
            UnavailableError: The node has ended; the message has its exit code and the end of its log.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            how = f'with exit code {code}' if code >= 0 else f'by signal {signal.Signals(-code).name}'
            raise UnavailableError(f'the node ended {how}; its log ends with:\n{self.end_of_log()}')

    def end_of_log(self) -> str:
        """Last lines of the node's log."""
        lines = self._log.read_text(errors='replace').splitlines() if self._log.exists() else []
        return '\n'.join(f'  {line}' for line in lines[-_N_LOG_LINES:]) or '  (the log is empty)'

    def __enter__(self) -> 'NodeProcess':
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self._variables, 'PYTHONUNBUFFERED': '1'},
            )
        return self

    def _command(self) -> list[str]:
        """Command line of the node; writes the parameter file."""
        path = Path(self._folder.name) / 'replay.param.yaml'
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': dict(self._parameters)}}))
        command = [sys.executable, '-m', 'seg_ros.ros.main', '--ros-args', '--params-file', str(path)]
        for source, target in self._remappings.items():
            command += ['-r', f'{source}:={target}']
        return command

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()
