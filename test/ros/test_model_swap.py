"""Models that load in the background: at configure, and while another one runs."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import ListParameters
from rclpy.node import Node
from sensor_msgs.msg import Image

from seg_ros.errors import UnavailableError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.msg import ModelInfo, SegmentCodeArray
from seg_ros.synthetic import RenderedDrive

LABELS, MODEL_INFO = '/seg_ros/labels', '/seg_ros/model_info'
IMAGE = RenderedDrive(7, 1, 90, 120)[0][0]


class SlowLoading:
    """Holds every loading until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        load = Segmenter.load

        def slow(settings: Any, report: Callable[[str], None]) -> Segmenter:
            self.begun.release()
            report('compiling')
            self.may_go_on.acquire()
            report('golden record')
            return load(settings)

        monkeypatch.setattr(Segmenter, 'load', slow)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLoading]:
    made = SlowLoading(monkeypatch)
    yield made
    made.may_go_on.release(100)  # a thread that is held would keep its node alive


def test_everything_is_answered_while_the_node_configures(robot: Any, slow: SlowLoading) -> None:
    robot.start(autostart=True)
    robot.wait(lambda: robot.diagnostics and robot.says('compiling'))
    robot.state()  # makes the client, which must discover the node first
    calls = [
        lambda: robot.call(GetState, '/seg_ros/get_state', GetState.Request()).current_state.label,
        lambda: robot.set('overlay_opacity', 0.25),
        lambda: robot.call(ListParameters, '/seg_ros/list_parameters', ListParameters.Request()).result.names,
    ]
    for call in calls:
        call()
        started = time.monotonic()
        answer = call()
        assert time.monotonic() - started < 1, 'not a measure of speed: an answer would come after the load'
        assert answer in ('configuring', '') or 'model' in answer
    assert not robot.change_state('configure'), 'a second request is refused at once'
    assert not robot.change_state('cleanup')
    assert robot.state() == 'configuring'
    slow.may_go_on.release()
    robot.wait(lambda: robot.values()['state'] == 'active', timeout_s=120)  # may have to compile loops


def test_another_model_takes_over_while_frames_go_on(
    robot: Any, coded_model_file: Path, model_file: Path, slow: SlowLoading
) -> None:
    slow.may_go_on.release()
    robot.start_active()
    labels, infos = robot.listen(Image, LABELS), robot.listen(ModelInfo, MODEL_INFO, robot.LATCHED)
    camera = robot.camera()
    slow.begun.acquire()
    shutil.copy(coded_model_file, robot.folder / 'coded.safetensors')
    assert robot.set('model', str(robot.folder / 'coded.safetensors')) == ''
    robot.wait(lambda: slow.begun.acquire(blocking=False))
    for number in range(1, 6):
        camera.publish(robot.message(IMAGE, number))
        robot.wait(lambda number=number: labels[-1:] and labels[-1].header.stamp.nanosec == number)
    assert robot.says('coded.safetensors')
    assert infos[-1].digest == infos[0].digest
    n_infos = len(infos)
    slow.may_go_on.release()
    robot.wait(lambda: robot.values().get('model', '').endswith('coded.safetensors'))
    camera.publish(robot.message(IMAGE, 6))
    robot.wait(lambda: labels[-1].header.stamp.nanosec == 6 and len(infos) > n_infos)
    assert infos[-1].digest != infos[0].digest
    segments = robot.listen(SegmentCodeArray, '/seg_ros/segments')
    camera.publish(robot.message(IMAGE, 7))
    robot.wait(lambda: segments)


@pytest.mark.parametrize('fault', ['missing', 'truncated', 'crash'])
def test_a_model_that_fails_rolls_back(
    robot: Any, model_file: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    path = robot.folder / f'{fault}.safetensors'
    if fault == 'truncated':
        path.write_bytes(model_file.read_bytes()[:1000])
    if fault == 'crash':
        path.write_bytes(model_file.read_bytes())
        monkeypatch.setattr(Segmenter, 'load', lambda *_: 1 / 0)
    assert robot.set('model', str(path)) == ''
    robot.wait(lambda: robot.says('was not taken') and robot.says(path.name))
    robot.wait(lambda: robot.get('model') == str(model_file))
    camera.publish(robot.message(IMAGE, 5))
    robot.wait(lambda: labels and labels[-1].header.stamp.nanosec == 5)
    assert robot.values()['model'] == str(model_file)
    monkeypatch.undo()
    assert robot.set('n_threads', 1) == ''
    robot.wait(lambda: not robot.says('was not taken'))


def test_an_old_failure_is_not_the_reason_of_the_next(robot: Any) -> None:
    robot.start_active()
    assert robot.set('model', str(robot.folder / 'first.safetensors')) == ''
    robot.wait(lambda: robot.says('was not taken'))
    assert robot.change_state('deactivate')
    assert robot.change_state('cleanup')
    robot.wait(lambda: not robot.says('was not taken'))
    assert robot.set('model', str(robot.folder / 'second.safetensors')) == ''
    assert not robot.change_state('configure')
    robot.wait(lambda: robot.says('second.safetensors'))
    assert not robot.says('first.safetensors')


def test_the_last_of_many_changes_wins(robot: Any, slow: SlowLoading) -> None:
    slow.may_go_on.release()
    node = robot.start_active()
    for n_threads in (1, 2, 1, 2, 1):
        assert robot.set('n_threads', n_threads) == ''
        robot.spin_for(0.15)
    slow.may_go_on.release(5)
    robot.wait(lambda: node.segmenter.n_threads == 1 and not node._models.progress)
    robot.wait(lambda: sum(thread.name == 'seg_ros worker' for thread in threading.enumerate()) == 1)


def test_cleanup_gives_up_a_model_that_loads(robot: Any, slow: SlowLoading) -> None:
    slow.may_go_on.release()
    robot.start_active()
    slow.begun.acquire()
    assert robot.set('n_threads', 1) == ''
    robot.wait(lambda: slow.begun.acquire(blocking=False))
    assert robot.change_state('deactivate')
    assert robot.change_state('cleanup')
    assert robot.state() == 'unconfigured'
    slow.may_go_on.release(2)
    assert robot.change_state('configure')
    assert robot.change_state('activate')


def test_a_backend_that_is_missing_rolls_back(robot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.start_active()

    def missing(*_: Any) -> None:
        raise UnavailableError('backend torch_compile is not available')

    monkeypatch.setattr(Segmenter, 'load', missing)
    assert robot.set('backend', 'torch_compile') == ''
    robot.wait(lambda: robot.says('torch_compile is not available'))
    robot.wait(lambda: robot.get('backend') == 'torch')


def test_labels_are_those_of_the_model_after_the_swap(robot: Any, model_file: Path) -> None:
    robot.start_active()
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    assert robot.set('input_width', 64) == ''
    assert robot.set('input_height', 64) == ''
    robot.wait(lambda: robot.values().get('input_size') == '64x64')
    camera.publish(robot.message(IMAGE, 5))
    robot.wait(lambda: labels)
    settings = robot.node.settings
    found = np.frombuffer(labels[-1].data, np.uint8).reshape(IMAGE.shape[:2])
    np.testing.assert_array_equal(found, Segmenter.load(settings)(IMAGE).labels)


def test_a_latency_budget_lowers_the_input_and_says_so(robot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    robot.start_active(latency_budget_ms=1000.0)
    labels, camera = robot.listen(Image, LABELS), robot.camera()
    budget = robot.node._budget

    def publish_until(is_done: Callable[[], Any]) -> None:
        number = 0
        while not is_done():
            number += 1
            camera.publish(robot.message(IMAGE, number))
            robot.spin_for(0.02)
            assert number < 1000, 'in vain'

    publish_until(lambda: budget.latency_ms is not None)
    assert robot.values()['quality'] == 'full quality'
    monkeypatch.setattr(budget, 'add', lambda latency_ms: type(budget).add(budget, 5000.0))
    publish_until(lambda: robot.says('input 3/4') and robot.values()['input_size'] != '128x96')
    assert robot.says('1000 ms')
    assert robot.get('input_width') == 0, 'the parameters stay as they are'
    assert robot.set('latency_budget_ms', 0.0) == ''
    monkeypatch.undo()
    publish_until(lambda: robot.values()['quality'] == 'full quality')
    publish_until(lambda: robot.values()['input_size'] == '128x96')
    assert labels


def test_a_second_node_of_the_same_name_is_told(robot: Any) -> None:
    robot.start()
    context = robot.context()
    twin = Node('seg_ros', context=context)
    robot.wait(lambda: robot.says('2 nodes have the name /seg_ros'))
    twin.destroy_node()
    context.shutdown()
    robot.wait(lambda: not robot.says('nodes have the name'))
