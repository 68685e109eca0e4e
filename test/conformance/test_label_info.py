"""``~/label_info`` over DDS. vision_msgs has no wheel: where it is missing, its interfaces are built."""

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from seg_ros.classes import ClassSet
from seg_ros.resources import resource

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / 'scripts/seg_node'
# Package, type and field names as published: github.com/ros-perception/vision_msgs, branch ros2.
INTERFACES = {
    'depends': 'std_msgs\n',
    'msg/VisionClass.msg': 'uint16 class_id\nstring class_name\n',
    'msg/LabelInfo.msg': 'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n',
}


@pytest.fixture(scope='session')
def variables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which vision_msgs can be imported; it is built once and kept in pytest's cache."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    if find_spec('vision_msgs'):
        return {**os.environ, 'PATH': path}
    versions = sorted(f'{d.name} {d.version}' for d in metadata.distributions() if 'rosidl' in d.name)
    parts = [sys.version, *versions, *INTERFACES.values(), (HERE / 'build_interfaces.py').read_text()]
    key = hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]
    cache = request.config.cache
    target = (cache.mkdir('vision_msgs') if cache else tmp_path_factory.mktemp('vision_msgs')) / key
    if not (target / 'share').is_dir():  # the builder lays it out last
        source = tmp_path_factory.mktemp('source') / 'vision_msgs'
        for name, text in INTERFACES.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        command = [sys.executable, str(HERE / 'build_interfaces.py'), str(source), str(target)]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    return {
        **os.environ,
        'PATH': path,
        'PYTHONPATH': before(target, 'PYTHONPATH'),
        'LD_LIBRARY_PATH': before(target / 'lib', 'LD_LIBRARY_PATH'),
    }


def before(folder: Path, variable: str) -> str:
    return os.pathsep.join([str(folder), os.environ.get(variable, '')]).rstrip(os.pathsep)


def test_label_info_over_dds(variables: dict[str, str], model_file: Path, tmp_path: Path) -> None:
    given = {
        'model': model_file,
        'backend': 'torch',
        'device': 'cpu',
        'autostart': True,
        'confidence_threshold': 0.25,
    }
    words = [word for name, value in given.items() for word in ('-p', f'{name}:={value}')]
    log = tmp_path / 'log'
    with log.open('w') as output:
        node = subprocess.Popen(
            [SCRIPT, '--ros-args', *words], env=variables, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        listener = [sys.executable, str(HERE / 'listen_to_label_info.py')]
        heard = subprocess.run(listener, env=variables, capture_output=True, text=True, timeout=90)
    finally:
        node.terminate()
        node.wait(10)
    assert heard.returncode == 0, heard.stderr + log.read_text()
    messages = [json.loads(line) for line in heard.stdout.splitlines()]
    names = ClassSet.from_yaml(resource('config/labels/camvid11.yaml')).names
    assert [message['classes'] for message in messages] == [[list(pair) for pair in enumerate(names)]] * 2
    assert [message['threshold'] for message in messages] == [0.25, 0.5]
