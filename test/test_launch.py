"""The launch file, run by the real launch where it is installed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from seg_ros.arrays import UInt8Array
from seg_ros.bags.messages import message_types
from seg_ros.bags.reader import BagReader
from seg_ros.bags.writer import BagWriter
from seg_ros.resources import resource
from seg_ros.ros.dds import profile_variable

pytest.importorskip('launch_ros', reason='needs launch and launch_ros, which come with a ROS distribution')

SCRIPT = Path(__file__).parents[1] / 'scripts/seg_node'
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

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        arguments: dict[str, object],
        file: str = 'segmentation.launch.py',
    ) -> None:
        words = [f'{name}:={value}' for name, value in arguments.items()]
        path = str(resource(f'launch/{file}'))
        self._log = folder / 'log'
        with self._log.open('wb') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-c', RUN, path, *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
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

    def change_state(self, node: str, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._ask(ChangeState, f'{node}/change_state', request, once=True).success)

    def parameters(self, node: str, names: list[str]) -> list[Any]:
        request = GetParameters.Request(names=names)
        values = self._ask(GetParameters, f'{node}/get_parameters', request).values
        return [rclpy.parameter.parameter_value_to_python(value) for value in values]

    def _ask(self, kind: Any, service: str, request: Any, *, once: bool = False) -> Any:
        """Answer of a service. The request is repeated: an answer sent before discovery ends is lost."""
        client = self.peer.create_client(kind, service)
        self.wait(client.service_is_ready)
        answers: list[Any] = []
        asked_at = float('-inf')

        def is_answered() -> bool:
            nonlocal asked_at
            if time.monotonic() > asked_at + (60 if once else 2):
                asked_at = time.monotonic()
                answers.append(client.call_async(request))
            return any(answer.done() for answer in answers)

        self.wait(is_answered)
        return next(answer.result() for answer in answers if answer.done())

    def environment_of_node(self) -> dict[str, str]:
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children').read_text().split()
        content = Path(f'/proc/{children[0]}/environ').read_text()
        return dict(entry.split('=', 1) for entry in content.split('\0') if '=' in entry)

    def child(self, name: str) -> int:
        """Process id of a process that the launch has started."""
        children = Path(f'/proc/{self.process.pid}/task/{self.process.pid}/children')

        def found() -> list[int]:
            pids = [int(word) for word in children.read_text().split()]
            return [pid for pid in pids if name in Path(f'/proc/{pid}/cmdline').read_text()]

        self.wait(found)
        return found()[0]

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
    (tmp_path / 'lib/seg_ros/seg_node').symlink_to(SCRIPT)
    started: list[Launched] = []

    def launch(
        environment: dict[str, str] | None = None,
        file: str = 'segmentation.launch.py',
        **arguments: object,
    ) -> Launched:
        prefixes = os.pathsep.join([str(tmp_path), os.environ.get('AMENT_PREFIX_PATH', '')])
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])  # of python3
        given = {'AMENT_PREFIX_PATH': prefixes.rstrip(os.pathsep), 'PATH': path}
        environment = {**given, **(environment or {})}
        started.append(Launched(tmp_path, environment, arguments, file))
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


BAD_FILES = {
    'wrong type': ('/**:\n  ros__parameters:\n    max_rate_hz: fast\n', 'line 3', "max_rate_hz is 'fast'"),
    'out of range': ('/a:\n  b:\n    ros__parameters:\n      n_threads: 7\n/**:\n  ros__parameters:\n'
                     '    confidence_threshold: 1.5\n', 'line 7', 'expected 0 .. 1'),
    'not YAML': ('/**:\n  ros__parameters: [1,\n', 'line 3', "expected"),
    'no section': ('max_rate_hz: 1.0\n', 'line 1', 'ros__parameters'),
    'missing': (None, 'does not exist', ''),
}  # fmt: skip


@pytest.mark.parametrize(('text', 'place', 'reason'), BAD_FILES.values(), ids=list(BAD_FILES))
def test_a_bad_parameter_file_ends_the_launch_with_a_code_and_one_line(
    launch: Callable[..., Launched], tmp_path: Path, text: str | None, place: str, reason: str
) -> None:
    path = tmp_path / 'bad.param.yaml'
    if text is not None:
        path.write_text(text)
    launched = launch(params_file=path)
    assert launched.process.wait(60) == 1
    (line,) = [line for line in launched.log.splitlines() if line.startswith('[seg_node-1]')]
    assert str(path) in line
    assert place in line
    assert reason in line
    assert 'Traceback' not in launched.log
    assert '[seg_node-1]: process has died' in launched.log
    assert launched.log.count('exit code 1') == 2


def test_a_node_that_dies_ends_the_launch_with_a_code(launch: Callable[..., Launched]) -> None:
    launched = launch(autostart='false')
    assert launched.state('/seg_ros') == 'unconfigured'
    os.kill(launched.child('seg_node'), signal.SIGKILL)
    assert launched.process.wait(30) == 1
    assert 'exit code -9' in launched.log


def test_a_node_that_was_told_to_end_ends_the_launch(launch: Callable[..., Launched]) -> None:
    launched = launch(autostart='false')
    assert launched.state('/seg_ros') == 'unconfigured'
    os.kill(launched.child('seg_node'), signal.SIGTERM)
    assert launched.process.wait(30) == 0
    assert 'Caught exception' not in launched.log


def test_a_file_for_another_node_is_told(launch: Callable[..., Launched], tmp_path: Path) -> None:
    path = tmp_path / 'other.param.yaml'
    path.write_text('/seg_ros:\n  ros__parameters:\n    max_rate_hz: 5.0\n')
    launched = launch(autostart='false', namespace='front', name='eyes', params_file=path)
    launched.wait(lambda: 'gives nothing' in launched.log)
    (line,) = [line for line in launched.log.splitlines() if 'gives nothing' in line]
    assert '[WARN]' in line
    assert str(path) in line
    assert '/front/eyes' in line
    assert '/seg_ros' in line


def test_it_activates_once_and_a_person_decides_later(
    launch: Callable[..., Launched], model_file: Path, tmp_path: Path
) -> None:
    parameters = {'model': str(model_file), 'backend': 'torch', 'device': 'cpu'}
    path = tmp_path / 'robot.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    launched = launch(params_file=path)
    launched.wait(lambda: 'segmenting' in launched.log)
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
    ):
        assert launched.change_state('/seg_ros', transition)
    until = time.monotonic() + 1.5
    launched.wait(lambda: time.monotonic() > until)
    assert launched.state('/seg_ros') == 'inactive'
    assert launched.change_state('/seg_ros', Transition.TRANSITION_ACTIVATE)


def test_after_a_failed_start_a_person_decides(
    launch: Callable[..., Launched], model_file: Path, tmp_path: Path
) -> None:
    link = tmp_path / 'later.safetensors'
    parameters = {'model': str(link), 'backend': 'torch', 'device': 'cpu'}
    path = tmp_path / 'robot.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    launched = launch(params_file=path)
    launched.wait(lambda: 'cannot configure' in launched.log)
    assert launched.state('/seg_ros') == 'unconfigured'
    link.write_bytes(model_file.read_bytes())
    assert launched.change_state('/seg_ros', Transition.TRANSITION_CONFIGURE)
    until = time.monotonic() + 1.5
    launched.wait(lambda: time.monotonic() > until)
    assert launched.state('/seg_ros') == 'inactive'


@pytest.mark.parametrize(
    ('arguments', 'prefix', 'camera'),
    [
        ({}, '/seg_ros', '/camera/image_raw'),
        ({'name': 'eyes', 'image': '/cam/left'}, '/eyes', '/cam/left'),
        ({'namespace': '/a/b', 'name': 'eyes', 'image': 'left'}, '/a/b/eyes', 'left'),
    ],
)
def test_all_displays_of_rviz_follow(
    launch: Callable[..., Launched], tmp_path: Path, arguments: dict[str, str], prefix: str, camera: str
) -> None:
    """An executable in place of rviz2 writes its arguments down."""
    (tmp_path / 'share/ament_index/resource_index/packages/rviz2').touch()
    rviz, words = tmp_path / 'lib/rviz2/rviz2', tmp_path / 'words'
    rviz.parent.mkdir(parents=True)
    rviz.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {words}.new && mv {words}.new {words}\nexec sleep 60\n'
    )
    rviz.chmod(0o755)
    launched = launch(autostart='false', use_rviz='true', **arguments)
    launched.wait(words.exists)
    rules = dict(word.split(':=') for word in words.read_text().splitlines() if ':=' in word)
    shown = re.findall(r'Value: (/\S+)', resource('config/segmentation.rviz').read_text())
    assert len(shown) >= 6
    for topic in shown:
        expected = camera if topic == '/camera/image_raw' else topic.replace('/seg_ros', prefix, 1)
        assert rules[topic] == expected
    assert rules['__ns'] == '/' + arguments.get('namespace', '').strip('/')


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


@pytest.mark.parametrize(
    ('bag', 'problem'), [('none.mcap', 'does not exist'), ('other.mcap', 'no images on')]
)
def test_a_bag_that_cannot_be_played_ends_the_replay(
    launch: Callable[..., Launched], tmp_path: Path, bag: str, problem: str
) -> None:
    with BagWriter(tmp_path / 'other.mcap') as writer:
        writer.write_image('/other', np.zeros((6, 8, 3), np.uint8), 1)
    launched = launch(file='replay.launch.py', bag=tmp_path / bag)
    assert launched.process.wait(30) == 1
    (line,) = [line for line in launched.log.splitlines() if 'ERROR' in line]
    assert bag in line
    assert problem in line
    assert 'Traceback' not in launched.log
    assert 'seg_node' not in launched.log


@pytest.mark.parametrize('is_compressed', [False, True])
def test_a_bag_is_played_as_often_as_wanted(
    launch: Callable[..., Launched], model_file: Path, tmp_path: Path, is_compressed: bool
) -> None:
    bag = tmp_path / 'drive.mcap'
    with BagWriter(bag) as writer:
        for index in range(3):
            image, stamp_ns = np.full((90, 120, 3), 60 * index, np.uint8), (10 + index) * 10**8
            if is_compressed:
                topic, kind = '/camera/image_raw/compressed', 'sensor_msgs/msg/CompressedImage'
                writer.write(topic, kind, png_cdr(image, stamp_ns), stamp_ns)
            else:
                writer.write_image('/camera/image_raw', image, stamp_ns)
    parameters = {'model': str(model_file), 'backend': 'torch', 'device': 'cpu', 'image_transport': 'raw'}
    path = tmp_path / 'robot.param.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    for name in ('drive_seg_ros.mcap', 'drive_seg_ros_2.mcap'):  # without rviz2
        launched = launch(file='replay.launch.py', bag=bag, params_file=path)
        assert launched.process.wait(120) == 0, launched.log
        with BagReader(tmp_path / name) as recording:
            assert list(recording.messages('/seg_ros/labels'))
        if is_compressed:
            break


def png_cdr(image: UInt8Array, stamp_ns: int) -> bytes:
    kind, types = 'sensor_msgs/msg/CompressedImage', message_types()
    stamp = types.types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 10**9))
    header = types.types['std_msgs/msg/Header'](stamp, 'front')
    content = cv2.imencode('.png', image)[1].ravel()
    return bytes(types.serialize_cdr(types.types[kind](header, 'rgb8; png compressed bgr8', content), kind))
