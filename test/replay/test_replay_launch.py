"""The steps of replay.launch.py with stand-ins for launch; test_launch.py runs the real one."""

import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from seg_ros.bags.writer import BagWriter
from seg_ros.resources import resource

PACKAGES = ('ament_index_python', 'launch', 'launch_ros')


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The launch file as a module; each action is its keyword arguments."""
    names = ['packages', 'actions', 'events', 'events.process', 'launch_description_sources', 'substitutions']
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, MagicMock())
        for name in names:
            monkeypatch.setitem(sys.modules, f'{package}.{name}', MagicMock())
    actions: Any = sys.modules['launch.actions']
    actions.ExecuteProcess = actions.Shutdown = lambda **given: given
    actions.DeclareLaunchArgument = lambda name, **given: (name, given)
    packages: Any = sys.modules['ament_index_python.packages']
    packages.PackageNotFoundError = KeyError
    packages.get_package_prefix.side_effect = KeyError('rviz2')
    spec = importlib.util.spec_from_file_location('replay_launch', resource('launch/replay.launch.py'))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(bag: Path | str, output: str = '') -> SimpleNamespace:
    configurations = {'bag': str(bag), 'image': '/camera', 'output': output}
    return SimpleNamespace(launch_configurations=configurations, is_shutdown=False)


def test_a_recording_gets_a_free_name(
    launch_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with BagWriter(tmp_path / 'drive.mcap') as bag:
        bag.write_image('/camera', np.zeros((6, 8, 3), np.uint8), 1)
    for name in ('drive_seg_ros.mcap', 'drive_seg_ros_2.mcap', 'drive_seg_ros_3.mcap'):
        command = launch_file.play(context(tmp_path / 'drive.mcap'))[-1]['cmd']
        assert command[command.index('-o') + 1] == name
        (tmp_path / name).touch()
    command = launch_file.play(context(tmp_path / 'drive.mcap', 'mine.mcap'))[-1]['cmd']
    assert command[command.index('-o') + 1] == 'mine.mcap'
    assert os.fspath(command[command.index('replay') + 1]) == str(tmp_path / 'drive.mcap')


def test_a_bag_that_cannot_be_played_is_an_error(launch_file: Any, tmp_path: Path) -> None:
    assert launch_file.play(context('')) == []
    (tmp_path / 'broken.mcap').write_bytes(b'garbage')
    for name in ('missing.mcap', 'broken.mcap'):
        with pytest.raises(RuntimeError, match=name):
            launch_file.play(context(tmp_path / name))


def test_the_end_of_the_replay_is_the_end_of_the_launch(launch_file: Any) -> None:
    ended = launch_file.end_with_replay(SimpleNamespace(returncode=0), context('x'))
    assert 'played' in ended[0]['reason']
    with pytest.raises(RuntimeError, match='exit code 3'):
        launch_file.end_with_replay(SimpleNamespace(returncode=3), context('x'))


def test_rviz_is_started_only_where_it_is_installed(launch_file: Any) -> None:
    assert not launch_file.has_rviz()
    sys.modules['ament_index_python.packages'].get_package_prefix.side_effect = None
    assert launch_file.has_rviz()
