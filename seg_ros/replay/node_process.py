"""The real node in a process of its own, and what two processes need to exchange images."""

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
from seg_ros.inference.settings import Value
from seg_ros.resources import resource

NODE_NAME = 'seg_ros'
_LAST_LINES = 12
_STOP_TIMEOUT_S = 10.0


class NodeProcess:
    """The lifecycle node, started but not configured; a context manager that stops it.

    It is out of reach of Ctrl-C, so that whoever started it decides when it ends.

    Args:
        parameters: by name; the others keep their defaults.
        remappings: of topics, from -> to.
    """

    def __init__(self, parameters: Mapping[str, Value], remappings: Mapping[str, str]) -> None:
        self._parameters, self._remappings = parameters, remappings
        self._folder = TemporaryDirectory(prefix='seg_ros_node_')
        self._log = Path(self._folder.name) / 'log'
        self._process: subprocess.Popen[bytes] | None = None

    def check(self) -> None:
        """Do nothing if the node runs.

        Raises:
            UnavailableError: it has ended; with the last lines of its log.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            how = f'with exit code {code}' if code >= 0 else f'by signal {signal.Signals(-code).name}'
            raise UnavailableError(f'the node ended {how}; its last words:\n{self.last_words()}')

    @property
    def pid(self) -> int | None:
        """Of the process; None before it is started."""
        return self._process.pid if self._process else None

    def last_words(self) -> str:
        """The last lines of what the node logged."""
        lines = self._log.read_text(errors='replace').splitlines() if self._log.exists() else []
        return '\n'.join(f'  {line}' for line in lines[-_LAST_LINES:]) or '  (nothing)'

    def __enter__(self) -> 'NodeProcess':
        settings = Path(self._folder.name) / 'replay.param.yaml'
        settings.write_text(yaml.safe_dump({'/**': {'ros__parameters': dict(self._parameters)}}))
        command = [sys.executable, '-m', 'seg_ros.ros.main', '--ros-args', '--params-file', str(settings)]
        for source, target in self._remappings.items():
            command += ['-r', f'{source}:={target}']
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            )
        return self

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


def use_large_image_transport() -> None:
    """Have Fast DDS move images through shared memory, in this process and its children.

    Without the shipped profile a camera frame does not fit the default segment. A transport that the user has
    chosen stays. To be called before ``rclpy.init``.
    """
    old_name, name = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
    if not {old_name, name, 'FASTDDS_BUILTIN_TRANSPORTS'} & os.environ.keys():
        is_old = os.environ.get('ROS_DISTRO') in ('humble', 'iron', 'jazzy')  # Fast DDS 2
        os.environ[old_name if is_old else name] = str(resource('config/fastdds_large_images.xml'))


def isolate_dds_domain(domain: int | None) -> None:
    """Choose a DDS domain for this process and its children, away from robots and other replays.

    Args:
        domain: 0..232, reachable from other computers as usual; None = one by chance, on this computer only.
    """
    if domain is None:
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        domain = 51 + os.getpid() % 50  # above 101, ports may be taken
    os.environ['ROS_DOMAIN_ID'] = str(domain)
