"""``~/label_info`` over DDS. vision_msgs has no wheel: where it is missing, its interfaces are built."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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


def test_label_info_over_dds(
    with_package: Callable[[str, dict[str, str]], dict[str, str]], model_file: Path, tmp_path: Path
) -> None:
    variables = with_package('vision_msgs', INTERFACES)
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
