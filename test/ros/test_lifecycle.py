"""The node's life: its states, what each leaves behind, and what it does when a step fails."""

import ctypes
import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sensor_msgs.msg import Image

from seg_ros.synthetic import RenderedDrive

LABELS = '/seg_ros/labels'


def test_activate_before_configure_is_refused(robot: Any) -> None:
    robot.start()
    assert not robot.change_state('activate')
    assert robot.state() == 'unconfigured'


def test_a_model_that_cannot_be_loaded_leaves_the_node_alive(
    robot: Any, model_file: Path, tmp_path: Path
) -> None:
    content = model_file.read_bytes()
    spoilt = {
        'missing': None,
        'truncated': content[: len(content) // 2],
        'hostile': b'\xff' * 8 + content[8:],
        'empty': b'',
    }
    robot.start()
    for name, data in spoilt.items():
        path = tmp_path / f'{name}.safetensors'
        if data is not None:
            path.write_bytes(data)
        assert robot.set('model', str(path)) == ''
        assert not robot.change_state('configure')
        assert robot.state() == 'unconfigured'
        robot.wait(lambda name=name: robot.says('configure failed') and robot.says(name))
    assert robot.set('model', str(model_file)) == ''
    assert robot.change_state('configure')
    assert robot.change_state('activate')


class MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc(3)."""

    _NAMES = ('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks')
    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in (*_NAMES, 'keepcost')]


def used_mb() -> float:
    """Memory that is allocated, in MB.

    Not what is resident: the process keeps what it freed (``keep_freed_memory``), and cycle by cycle other
    pages of the 64 MB that it gets ahead are touched, until all have been.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, 'mallinfo2'):
        pytest.skip('the C library does not say how much memory is in use (mallinfo2, glibc 2.33)')
    library.mallinfo2.restype = MallocInfo
    info = library.mallinfo2()
    return (info.uordblks + info.hblkhd) / 1e6


def test_ten_cycles_leave_nothing_behind(robot: Any) -> None:
    node = robot.start()
    image = RenderedDrive(7, 1, 90, 120)[0][0]
    labels, sizes, pipelines = robot.listen(Image, LABELS), [], []
    for number in range(1, 11):
        assert robot.change_state('configure')
        assert robot.change_state('activate')
        pipelines.append(weakref.ref(node.segmenter))
        camera = robot.camera()
        robot.wait(lambda: robot.peer.count_publishers(LABELS))
        camera.publish(robot.message(image, number))
        robot.wait(lambda number=number: labels and labels[-1].header.stamp.nanosec == number)
        robot.peer.destroy_publisher(camera)
        assert robot.change_state('deactivate')
        assert robot.change_state('cleanup')
        sizes.append(used_mb())
    robot.wait(lambda: not robot.peer.count_publishers(LABELS) and not robot.peer.count_subscribers('/image'))
    assert not any(thread.name == 'seg_ros worker' for thread in threading.enumerate())
    assert not any(segmenter() for segmenter in pipelines)
    assert sizes[-1] - sizes[3] < 2


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_shutdown_from_every_state(robot: Any, state: str) -> None:
    node = robot.start()
    steps = {'unconfigured': [], 'inactive': ['configure'], 'active': ['configure', 'activate']}
    for transition in steps[state]:
        assert robot.change_state(transition)
    assert node.trigger_shutdown().name == 'SUCCESS'
    assert robot.state() == 'finalized'
    assert not any(thread.name == 'seg_ros worker' for thread in threading.enumerate())


def test_autostart(robot: Any) -> None:
    robot.start(autostart=True)
    robot.wait(lambda: robot.diagnostics and robot.values()['state'] == 'active')


def test_failing_autostart_is_told_and_can_be_mended(robot: Any, model_file: Path) -> None:
    robot.start(autostart=True, model='/nowhere.safetensors', model_folders=str(model_file.parent))
    robot.wait(lambda: robot.says('configure failed') and robot.says('/nowhere.safetensors'))
    assert robot.set('model', str(model_file)) == ''
    assert robot.change_state('configure')
