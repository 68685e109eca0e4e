"""The launch file, run by the real launch where it is installed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from seg_ros.resources import resource
from seg_ros.ros.dds import profile_variable

pytest.importorskip('launch_ros', reason='needs launch and launch_ros, which come with a ROS distribution')

PROFILE = profile_variable(os.environ)
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

path, *arguments = sys.argv[1:]
service = LaunchService()
source = PythonLaunchDescriptionSource(path)
included = IncludeLaunchDescription(source, launch_arguments=[a.split(':=') for a in arguments])
service.include_launch_description(LaunchDescription([included]))
sys.exit(service.run())
"""


class Launched:
    """A launch in a process of its own, and a peer that looks at the nodes it has started."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: dict[str, object]) -> None:
        words = [f'{name}:={value}' for name, value in arguments.items()]
        path = str(resource('launch/segmentation.launch.py'))
        self._log = folder / 'log'
        with self._log.open('wb') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-c', RUN, path, *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **environment, 'ROS_LOG_DIR': str(folder)},
            )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.peer = Node('peer', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.peer)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self, is_done: Callable[[], Any]) -> None:
        end = time.monotonic() + 60
        while not is_done():
            assert time.monotonic() < end, self.log
            self._executor.spin_once(timeout_sec=0.05)

    def state(self, node: str) -> str:
        return str(self._ask(GetState, f'{node}/get_state', GetState.Request()).current_state.label)

    def parameters(self, node: str, names: list[str]) -> list[Any]:
        request = GetParameters.Request(names=names)
        values = self._ask(GetParameters, f'{node}/get_parameters', request).values
        return [rclpy.parameter.parameter_value_to_python(value) for value in values]

    def _ask(self, kind: Any, service: str, request: Any) -> Any:
        """Answer of a service. The request is repeated: an answer sent before discovery ends is lost."""
        client = self.peer.create_client(kind, service)
        self.wait(client.service_is_ready)
        answers: list[Any] = []
        asked_at = float('-inf')

        def is_answered() -> bool:
            nonlocal asked_at
            if time.monotonic() > asked_at + 2:
                asked_at = time.monotonic()
                answers.append(client.call_async(request))
            return any(answer.done() for answer in answers)

        self.wait(is_answered)
        return next(answer.result() for answer in answers if answer.done())

    def environment_of_node(self) -> dict[str, str]:
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        content = Path(f'/proc/{children[0]}/environ').read_text()
        return dict(entry.split('=', 1) for entry in content.split('\0') if '=' in entry)

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.peer.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Starts launches from a folder that looks like an installed package."""
    index = tmp_path / 'share/ament_index/resource_index/packages'
    index.mkdir(parents=True)
    (index / 'seg_ros').touch()
    (tmp_path / 'lib/seg_ros').mkdir(parents=True)
    executable = tmp_path / 'lib/seg_ros/seg_node'
    executable.write_text(f'#!{sys.executable}\nfrom seg_ros.ros.main import main\nmain()\n')
    executable.chmod(0o755)
    started: list[Launched] = []

    def launch(environment: dict[str, str] | None = None, **arguments: object) -> Launched:
        prefixes = os.pathsep.join([str(tmp_path), os.environ.get('AMENT_PREFIX_PATH', '')])
        environment = {'AMENT_PREFIX_PATH': prefixes.rstrip(os.pathsep), **(environment or {})}
        started.append(Launched(tmp_path, environment, arguments))
        return started[-1]

    yield launch
    for launched in started:
        launched.close()


def test_it_brings_up_the_node_as_told(
    launch: Callable[..., Launched], model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (PROFILE, 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_BUILTIN_TRANSPORTS'):
        monkeypatch.delenv(name, raising=False)
    parameters = {'model': str(model_file), 'backend': 'torch', 'device': 'cpu', 'max_rate_hz': 7.0}
    path = tmp_path / 'robot.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    launched = launch(
        namespace='front', name='eyes', params_file=path, image='/cam/image_raw', use_sim_time='true'
    )
    launched.wait(lambda: 'segmenting /cam/image_raw' in launched.log)
    assert launched.state('/front/eyes') == 'active'
    launched.wait(lambda: launched.peer.count_publishers('/front/eyes/labels') == 1)
    assert launched.peer.count_subscribers('/cam/image_raw') == 1
    assert launched.parameters('/front/eyes', ['max_rate_hz', 'use_sim_time']) == [7.0, True]
    profile = launched.environment_of_node()[PROFILE]
    assert profile == str(resource('config/fastdds_large_images.xml'))
    assert launched.stop() == 0
    assert 'process has finished cleanly' in launched.log
    assert 'Traceback' not in launched.log


def test_it_leaves_to_others_what_they_want_to_do(launch: Callable[..., Launched]) -> None:
    launched = launch({PROFILE: '/mine.xml'}, autostart='false')
    assert launched.state('/seg_ros') == 'unconfigured'
    assert launched.environment_of_node()[PROFILE] == '/mine.xml'
    assert 'loading model' not in launched.log


def test_shipped_profile_is_understood(
    launch: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PROFILE, raising=False)
    launched = launch(autostart='false')
    assert launched.state('/seg_ros') == 'unconfigured'
    assert 'XMLPARSER' not in launched.log
    assert 'rror' not in launched.log
