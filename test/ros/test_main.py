"""The node as a process of its own."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.inference.settings import BY_NAME, PARAMETERS
from seg_ros.ros.arguments import parse_arguments
from seg_ros.synthetic import RenderedDrive

SCRIPT = Path(__file__).parents[2] / 'scripts/seg_node'
LISTENER = Path(__file__).with_name('cyclone_listener.py')
CYCLONE_ON_THIS_COMPUTER = """
<CycloneDDS><Domain id="any">
  <General>
    <Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
  </General>
  <Discovery><ParticipantIndex>auto</ParticipantIndex><Peers><Peer address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>
"""


def environment() -> dict[str, str]:
    """With the Python of this process as python3."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    return {**os.environ, 'PATH': path}


def run(*words: str, **variables: str) -> tuple[int, list[str]]:
    """Exit code and lines of the program, which ends by itself."""
    done = subprocess.run(
        [SCRIPT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={**environment(), **variables},
    )
    return done.returncode, done.stdout.splitlines()


def _take_signals() -> None:
    """Shells that start this test in the background let it ignore SIGINT, which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process:
    """A node whose log can be read while it runs."""

    def __init__(self, log: Path, *words: str, **parameters: Any) -> None:
        self._log = log
        words = (*words, *(word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')))
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [SCRIPT, '--ros-args', *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_take_signals,
                env={**environment(), 'PYTHONUNBUFFERED': '1'},
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + 60
        while words not in self.log:
            assert time.monotonic() < end, self.log
            assert self.process.poll() is None, self.log
            time.sleep(0.01)

    def stop(self, number: signal.Signals) -> int:
        """Exit code after a signal to the process and its children, as a terminal or launch sends it."""
        os.killpg(self.process.pid, number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*words: str, **parameters: Any) -> Process:
        started.append(Process(tmp_path / 'log', *words, **parameters))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            os.killpg(process.process.pid, signal.SIGKILL)
            process.process.wait()


def given(model_file: Path) -> dict[str, Any]:
    return {'model': model_file, 'backend': 'torch', 'device': 'cpu', 'autostart': True}


@pytest.mark.parametrize(
    ('words', 'delay_s', 'number'),
    [
        ('', 0.6, signal.SIGINT),  # while importing
        ('', 1.5, signal.SIGTERM),
        ('loading model', 0.0, signal.SIGINT),  # while configuring
        ('loading model', 0.2, signal.SIGTERM),
        ('segmenting', 0.0, signal.SIGTERM),
        ('segmenting', 0.5, signal.SIGINT),
    ],
)
def test_a_signal_ends_it_quietly_at_any_moment(
    start: Callable[..., Process], model_file: Path, words: str, delay_s: float, number: signal.Signals
) -> None:
    node = start(**given(model_file))
    node.wait_for(words)
    time.sleep(delay_s)
    begun = time.monotonic()
    code = node.stop(number)
    assert time.monotonic() - begun < 2
    assert 'Traceback' not in node.log
    assert 'rror' not in node.log
    assert code == 0, node.log


def test_a_signal_in_the_first_instructions_is_quiet(start: Callable[..., Process]) -> None:
    """Python starts with signals held back; before that, the shell ends of the signal itself."""
    for number in range(15):
        node = start()
        time.sleep(0.004 * number)
        code = node.stop(signal.SIGINT)
        assert node.log == ''
        assert code in (0, -signal.SIGINT)  # the latter from the shell


def test_a_second_signal_changes_nothing(start: Callable[..., Process], model_file: Path) -> None:
    node = start(**given(model_file))
    node.wait_for('loading model')
    for _ in range(3):
        os.killpg(node.process.pid, signal.SIGINT)
        time.sleep(0.01)
    assert node.process.wait(2) == 0
    assert 'Traceback' not in node.log


def test_it_ends_soon_while_a_model_compiles_on_a_loaded_machine(
    start: Callable[..., Process], model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))  # nothing is compiled yet
    busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(4)]
    try:
        node = start(**{**given(model_file), 'backend': 'torch_compile'})
        node.wait_for('backend torch_compile')
        time.sleep(3)
        begun = time.monotonic()
        code = node.stop(signal.SIGINT)
        seconds = time.monotonic() - begun
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert seconds < 2
    assert code == 0
    assert 'Traceback' not in node.log
    alive = subprocess.run(['ps', '-o', 'stat=', '-s', str(node.process.pid)], capture_output=True, text=True)
    assert not [state for state in alive.stdout.split() if not state.startswith('Z')]  # no compiler is left


REFUSED = {
    'parameter': (('-p', 'confidence_threshold:=1.5'), 'confidence_threshold is 1.5; expected 0 .. 1'),
    "rclpy's own parameter": (('-p', 'use_sim_time:=3'), 'use_sim_time is 3; expected bool'),
    'rule without value': (('-p', 'max_rate_hz'), 'expected -p NAME:=VALUE'),
    'log level': (('--log-level', 'loud'), 'expected debug'),
    'remap rule': (('-r', 'a b'), 'expected -r FROM:=TO'),
    'name': (('-r', '__node:=x-y'), '__node:=x-y'),
    'namespace': (('-r', '__ns:=/a b'), '__ns:=/a b'),
    'unknown option': (('--nonsense',), '--nonsense'),
    'missing path': (('--params-file',), '--params-file'),
    'missing file': (('--params-file', '/nowhere.yaml'), "'/nowhere.yaml' does not exist"),
    'enclave': (('--enclave', 'a b'), 'nclave'),
}


@pytest.mark.parametrize(('words', 'expected'), REFUSED.values(), ids=list(REFUSED))
def test_what_is_refused_at_start_ends_it_with_one_line(words: tuple[str, ...], expected: str) -> None:
    code, lines = run('--ros-args', *words)
    assert code == 1
    (line,) = [line for line in lines if '[WARN]' not in line]
    assert expected in line


def test_a_domain_that_does_not_exist_ends_it_with_one_line() -> None:
    code, (line,) = run(ROS_DOMAIN_ID='999')
    assert code == 1
    assert 'ROS_DOMAIN_ID' in line


def test_the_line_of_a_parameter_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'robot.yaml'
    path.write_text('/**:\n  ros__parameters:\n    model: x\n    segments:\n      region_size: 1000\n')
    code, (line,) = run('--ros-args', '--params-file', str(path))
    assert code == 1
    assert f'{path}, line 5: segments.region_size' in line


@pytest.mark.parametrize('words', [('junk',), ('model:=x',), ('-p', 'max_rate_hz:=1.0'), ('--verbose',)])
def test_unknown_words_are_told(words: tuple[str, ...]) -> None:
    code, (line,) = run(*words)
    assert code == 2
    assert f"'{words[0]}'" in line
    assert '--ros-args' in line


def test_help_needs_neither_torch_nor_ros(tmp_path: Path) -> None:
    for name in ('torch', 'rclpy', 'numba'):
        (tmp_path / f'{name}.py').write_text('raise ImportError')
    code, lines = run('--help', PYTHONPATH=str(tmp_path))
    assert code == 0
    for parameter in PARAMETERS:
        assert any(line.split()[:1] == [parameter.name] for line in lines), parameter.name
    assert any('ros2 run seg_ros seg_node --ros-args' in line for line in lines)
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize('closed', ['0', '1', '2', '012'])
def test_streams_that_are_closed_do_not_keep_it_from_running(closed: str, tmp_path: Path) -> None:
    log = tmp_path / 'log'
    redirections = ' '.join(f'{number}>&-' for number in closed)
    words = f'{redirections} exec {SCRIPT} --ros-args -p model:=nothing -p autostart:=true'
    process = subprocess.Popen(
        ['sh', '-c', words],
        env={**environment(), 'ROS_LOG_DIR': str(log)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_take_signals,
    )
    try:
        end = time.monotonic() + 60
        while not any('nothing' in path.read_text() for path in log.glob('*.log')):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def test_examples_in_the_help_are_read() -> None:
    _, lines = run('--help')
    examples = [shlex.split(line) for line in lines if line.startswith('  ros2 run')]
    assert len(examples) >= 3
    for words in examples:
        assert words[:4] == ['ros2', 'run', 'seg_ros', 'seg_node']
        rules = [word for word in words[4:] if not word.endswith('.yaml') and word != '--params-file']
        assert parse_arguments(rules).unknown == []
        for word in rules:
            assert ':=' not in word or word[0] in '_i' or word.partition(':=')[0] in BY_NAME


def test_log_level(start: Callable[..., Process]) -> None:
    node = start('--log-level', 'debug')
    node.wait_for('[DEBUG]')
    assert node.stop(signal.SIGINT) == 0


def test_independent_dds_receives_the_labels(robot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('cyclonedds')
    monkeypatch.setenv('CYCLONEDDS_URI', CYCLONE_ON_THIS_COMPUTER)
    robot.start_active()
    camera = robot.camera()
    frames = [RenderedDrive(9, 3, 60, 80)[index][0] for index in range(3)]
    ours = robot.listen(type(robot.message(frames[0])), '/seg_ros/labels')
    command = [sys.executable, str(LISTENER), os.environ['ROS_DOMAIN_ID'], '/seg_ros/labels', '3']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == 'matched\n'
        robot.wait(lambda: robot.values()['subscribers'] == '2')
        for number, frame in enumerate(frames, 1):
            camera.publish(robot.message(frame, number))
            robot.wait(lambda n=number: len(ours) == n)
        received = [json.loads(listener.stdout.readline()) for _ in frames]
    assert received == [
        {
            'stamp_ns': number,
            'frame_id': 'camera_optical',
            'shape': [60, 80],
            'step': 80,
            'encoding': 'mono8',
            'sha256': hashlib.sha256(bytes(mine.data)).hexdigest(),
        }
        for number, mine in enumerate(ours, 1)
    ]
    assert len(np.unique(np.frombuffer(ours[0].data, np.uint8))) > 3


def test_with_empty_caches_it_is_active_before_its_loops_are_compiled(
    start: Callable[..., Process], model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('numba')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'caches'))
    monkeypatch.delenv('NUMBA_CACHE_DIR', raising=False)
    node = start(**given(model_file))
    node.wait_for('segmenting')
    assert not list((tmp_path / 'caches').rglob('segments-*')), 'the other process has not come so far'
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.process.wait(30) == 0, node.log
    end = time.monotonic() + 30
    while _is_group_alive(node.process.pid):
        assert time.monotonic() < end, 'the process that compiles outlives the node'
        time.sleep(0.05)


def _is_group_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='this system has no /proc')
@pytest.mark.skipif(
    os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp') != 'rmw_fastrtps_cpp',
    reason='the shared memory is that of Fast DDS',
)
def test_a_node_that_nothing_can_reach_any_more_ends(start: Callable[..., Process], model_file: Path) -> None:
    """As after a pause in which a sender took the node for dead, and replaced its port."""
    node = start(**given(model_file))
    node.wait_for('segmenting')
    folder = Path('/proc', str(node.process.pid))
    threads = [path.read_text().strip() for path in (folder / 'task').glob('*/comm')]
    readers = [name.removeprefix('dds.shm.') for name in threads if name.startswith('dds.shm.')]
    own = max(int(number) for number in readers if number.isdecimal())
    for path in Path('/dev/shm').glob(f'fast*_port{own}'):
        path.unlink()
    assert node.process.wait(10) == 1, node.log
    assert f'shared memory port {own}' in node.log
    assert 'Traceback' not in node.log


def test_without_torch_the_default_segments_and_other_models_say_what_they_need(
    start: Callable[..., Process], without_torch: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('onnxruntime')
    for name in ('PYTHONPATH', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(name, without_torch[name])
    node = start(autostart=True, device='cpu')
    node.wait_for('segmenting')
    assert node.stop(signal.SIGINT) == 0
    node = start(autostart=True, model='lite_camvid')
    node.wait_for('The node waits in state unconfigured')
    assert "pip install 'seg_ros[torch]'" in node.log
    assert node.stop(signal.SIGINT) == 0
