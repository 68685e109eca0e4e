"""The node as a process of its own."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.synthetic import RenderedDrive

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


class Process:
    """A node whose log can be read while it runs."""

    def __init__(self, log: Path, *words: str, **parameters: Any) -> None:
        self._log = log
        words = (*words, *(word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')))
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'seg_ros.ros.main', '--ros-args', *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, 'PYTHONUNBUFFERED': '1'},
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
    code = node.stop(number)
    assert 'Traceback' not in node.log
    assert 'rror' not in node.log
    assert code == 0, node.log


def test_a_refused_parameter_ends_it_with_one_line(start: Callable[..., Process]) -> None:
    node = start(confidence_threshold=1.5)
    assert node.process.wait(60) == 1
    assert len(node.log.splitlines()) == 1
    assert 'confidence_threshold is 1.5; expected 0 .. 1' in node.log


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
    command = [sys.executable, str(LISTENER), os.environ['ROS_DOMAIN_ID'], '/seg_ros/labels', '3']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == 'matched\n'
        ours = robot.listen(type(robot.message(frames[0])), '/seg_ros/labels')
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
