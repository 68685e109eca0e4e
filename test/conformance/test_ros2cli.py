"""The node under the real ``ros2`` commands, where launch_ros and ros2cli are installed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from seg_ros.inference.settings import BY_NAME, PARAMETERS
from seg_ros.resources import resource
from seg_ros.ros.messages import message_from_image
from seg_ros.synthetic import RenderedDrive

for package in (
    'ros2launch',
    'ros2lifecycle',
    'ros2node',
    'ros2param',
    'ros2run',
    'ros2service',
    'ros2topic',
):
    pytest.importorskip(package, reason=f'needs {package}, which comes with a ROS distribution')

SCRIPT = Path(__file__).parents[2] / 'scripts/seg_node'
ROS2 = [sys.executable, '-c', 'import sys; from ros2cli.cli import main; sys.exit(main())']
NODE = '/front/eyes'


class Robot:
    """A launched node, a camera, and ros2 commands."""

    def __init__(self, folder: Path, model_file: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
        prefixes = os.pathsep.join([str(folder), os.environ.get('AMENT_PREFIX_PATH', '')])
        self._environment = {
            **os.environ,
            'PATH': path,
            'AMENT_PREFIX_PATH': prefixes,
            'ROS_LOG_DIR': str(folder),
            'PYTHONWARNINGS': 'ignore',
        }
        parameters = {'model': str(model_file), 'backend': 'torch', 'device': 'cpu', 'max_rate_hz': 20.0}
        self.parameter_file = folder / 'robot.param.yaml'
        self.parameter_file.write_text(yaml.safe_dump({NODE: {'ros__parameters': parameters}}))
        self._log = (folder / 'log').open('w')
        words = ['namespace:=front', 'name:=eyes', 'image:=/cam', f'params_file:={self.parameter_file}']
        self.launch = subprocess.Popen(
            [*ROS2, 'launch', 'seg_ros', 'segmentation.launch.py', *words],
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.camera = Node('camera', context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.camera)
        image = RenderedDrive(9, 1, 60, 80)[0][0]
        message = message_from_image(image, 'rgb8', Header(frame_id='camera_optical'))
        publisher = self.camera.create_publisher(Image, '/cam', 1)

        def publish() -> None:
            message.header.stamp = self.camera.get_clock().now().to_msg()
            publisher.publish(message)

        self.camera.create_timer(0.1, publish)
        end = time.monotonic() + 60
        while 'segmenting /cam' not in (folder / 'log').read_text():
            assert time.monotonic() < end, (folder / 'log').read_text()
            time.sleep(0.05)

    def meet(self) -> None:
        """Wait until the daemon of ros2cli, which commands ask for names, knows the node."""
        self.ros2('daemon', 'start')
        end = time.monotonic() + 60
        while f'{NODE}/labels' not in self.ros2('topic', 'list') or NODE not in self.ros2('node', 'list'):
            assert time.monotonic() < end

    def ros2(self, *words: str, code: int | None = 0) -> str:
        """Output of a command, while the camera goes on; ``code`` is the exit code, None = any."""
        process = subprocess.Popen(
            [*ROS2, *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        end = time.monotonic() + 45
        while process.poll() is None and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0]
        assert code is None or process.returncode == code, output
        return output

    def close(self) -> int:
        self.ros2('daemon', 'stop')
        os.killpg(self.launch.pid, signal.SIGINT)
        try:
            return self.launch.wait(20)
        finally:
            if self.launch.poll() is None:
                os.killpg(self.launch.pid, signal.SIGKILL)
                self.launch.wait()
            self.camera.destroy_node()
            self.context.try_shutdown()
            self._log.close()


@pytest.fixture(scope='module')
def robot(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    folder = tmp_path_factory.mktemp('prefix')
    index = folder / 'share/ament_index/resource_index/packages'
    index.mkdir(parents=True)
    (index / 'seg_ros').touch()
    (folder / 'lib/seg_ros').mkdir(parents=True)
    (folder / 'lib/seg_ros/seg_node').symlink_to(SCRIPT)
    (folder / 'share/seg_ros/launch').mkdir(parents=True)
    for file in resource('launch').glob('*.py'):
        (folder / 'share/seg_ros/launch' / file.name).symlink_to(file)
    made = Robot(folder, model_file)
    made.meet()
    yield made
    assert made.close() == 0


def test_node_list_and_info(robot: Robot) -> None:
    assert NODE in robot.ros2('node', 'list').split()
    info = robot.ros2('node', 'info', NODE)
    for line in (
        '/cam: sensor_msgs/msg/Image',
        f'{NODE}/labels: sensor_msgs/msg/Image',
        f'{NODE}/change_state',
    ):
        assert line in info


def test_lifecycle(robot: Robot) -> None:
    assert robot.ros2('lifecycle', 'get', NODE).strip() == 'active [3]'
    assert 'deactivate' in robot.ros2('lifecycle', 'list', NODE)
    for transition, state in (
        ('deactivate', 'inactive [2]'),
        ('cleanup', 'unconfigured [1]'),
        ('configure', 'inactive [2]'),
        ('activate', 'active [3]'),
    ):
        assert 'successful' in robot.ros2('lifecycle', 'set', NODE, transition)
        assert robot.ros2('lifecycle', 'get', NODE).strip() == state
    robot.ros2('lifecycle', 'set', NODE, 'configure', code=1)


def test_parameters_are_listed_and_described(robot: Robot) -> None:
    listed = robot.ros2('param', 'list', NODE).split()
    assert set(BY_NAME) <= set(listed)
    described = robot.ros2('param', 'describe', NODE, 'max_rate_hz', 'segments.merge')
    assert BY_NAME['max_rate_hz'].doc in described
    assert 'Type: double' in described
    assert 'Max value: 1000' in described
    assert 'alike | components' in described


@pytest.mark.parametrize(
    ('name', 'word', 'shown'),
    [
        ('max_rate_hz', '5', 'Double value is: 5.0'),
        ('overlay_legend', 'false', 'Boolean value is: False'),
        ('segments.max_count', '7', 'Integer value is: 7'),
        ('segments.merge', 'components', 'String value is: components'),
    ],
)
def test_a_parameter_is_set_and_read(robot: Robot, name: str, word: str, shown: str) -> None:
    assert 'Set parameter successful' in robot.ros2('param', 'set', NODE, name, word)
    assert shown in robot.ros2('param', 'get', NODE, name)


@pytest.mark.parametrize(
    ('name', 'word', 'reason'),
    [
        ('confidence_threshold', '1.5', 'range'),
        ('max_rate_hz', 'fast', 'expected float'),
        ('segments.merge', 'x', 'alike'),
        ('autostart', 'true', 'read'),
    ],
)
def test_a_refused_value_is_told_in_words(robot: Robot, name: str, word: str, reason: str) -> None:
    output = robot.ros2('param', 'set', NODE, name, word, code=None)  # 0 or 1, by release
    assert 'failed' in output
    assert reason in output
    assert "'3' got" not in output


def test_parameters_are_dumped_and_loaded(robot: Robot) -> None:
    dumped: Any = yaml.safe_load(robot.ros2('param', 'dump', NODE))
    given = dumped[NODE]['ros__parameters']
    assert given['model'].endswith('.safetensors')
    assert set(given['segments']) == {p.name.partition('.')[2] for p in PARAMETERS if 'segments.' in p.name}
    path = robot.folder / 'load.yaml'
    path.write_text(
        yaml.safe_dump({'/**': {'ros__parameters': {'max_age_ms': 70.0, 'overlay_opacity': 0.25}}})
    )
    loaded = robot.ros2('param', 'load', NODE, str(path))
    assert loaded.count('successful') == 2
    assert '0.25' in robot.ros2('param', 'get', NODE, 'overlay_opacity')
    robot.ros2('param', 'set', NODE, 'max_age_ms', '0.0')


def test_topics(robot: Robot) -> None:
    listed = robot.ros2('topic', 'list').split()
    for name in ('labels', 'confidence', 'overlay', 'segments', 'model_info', 'transition_event'):
        assert f'{NODE}/{name}' in listed
    info = robot.ros2('topic', 'info', '-v', f'{NODE}/labels')
    assert 'Publisher count: 1' in info
    assert 'Node namespace: /front' in info


def test_labels_are_echoed(robot: Robot) -> None:
    output = robot.ros2('topic', 'echo', '--once', f'{NODE}/labels')
    message = next(yaml.safe_load_all(output))
    assert (message['height'], message['width'], message['encoding']) == (60, 80, 'mono8')
    assert message['header']['frame_id'] == 'camera_optical'


def test_model_info_is_echoed_to_late_joiners(robot: Robot) -> None:
    message = next(yaml.safe_load_all(robot.ros2('topic', 'echo', '--once', f'{NODE}/model_info')))
    assert message['architecture'] == 'enet'
    assert [entry['id'] for entry in message['classes']] == list(range(11))


def test_rate_of_the_labels(robot: Robot) -> None:
    robot.ros2('param', 'set', NODE, 'max_rate_hz', '0.0')
    process = [*ROS2, 'topic', 'hz', '--window', '20', f'{NODE}/labels']
    with subprocess.Popen(
        process, env=robot._environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as hz:
        end = time.monotonic() + 8
        while time.monotonic() < end:
            robot._executor.spin_once(timeout_sec=0.05)
        os.killpg(hz.pid, signal.SIGINT)
        output = hz.communicate(timeout=10)[0]
    rates = [float(line.split()[-1]) for line in output.splitlines() if 'average rate' in line]
    assert rates
    assert 5 < rates[-1] < 15


def test_services(robot: Robot) -> None:
    listed = robot.ros2('service', 'list', '-t')
    assert f'{NODE}/change_state [lifecycle_msgs/srv/ChangeState]' in listed
    called = robot.ros2('service', 'call', f'{NODE}/get_state', 'lifecycle_msgs/srv/GetState')
    assert "label='active'" in called


def test_run_gives_help_and_passes_exit_codes(robot: Robot) -> None:
    assert 'Examples:' in robot.ros2('run', 'seg_ros', 'seg_node', '--help')
    refused = robot.ros2('run', 'seg_ros', 'seg_node', '--ros-args', '-p', 'max_rate_hz:=-1.0', code=1)
    assert 'max_rate_hz' in refused
    assert 'Traceback' not in refused


def test_arguments_of_the_launch_are_shown(robot: Robot) -> None:
    shown = robot.ros2('launch', 'seg_ros', 'segmentation.launch.py', '--show-args')
    for name in (
        'namespace',
        'name',
        'params_file',
        'image',
        'use_sim_time',
        'log_level',
        'autostart',
        'use_rviz',
    ):
        assert f"'{name}':" in shown


def test_a_launch_that_fails_has_a_code(robot: Robot) -> None:
    words = ['launch', 'seg_ros', 'segmentation.launch.py', 'params_file:=/nowhere.yaml', 'name:=other']
    output = robot.ros2(*words, code=1)
    assert "'/nowhere.yaml' does not exist" in output
