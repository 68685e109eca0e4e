"""The bond with nav2's lifecycle manager; the interface of the package bond has no wheel and is built."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Package, type and field names as published: github.com/ros/bond_core, branch ros2.
INTERFACES = {
    'depends': 'std_msgs\n',
    'msg/Status.msg': 'std_msgs/Header header\nstring id\nstring instance_id\nbool active\n'
    'float32 heartbeat_timeout\nfloat32 heartbeat_period\n',
}


def test_a_manager_sees_heartbeats_until_the_node_ends_them(
    with_package: Callable[[str, dict[str, str]], dict[str, str]],
) -> None:
    variables = with_package('bond', INTERFACES)
    command = [sys.executable, str(Path(__file__).with_name('exchange_heartbeats.py'))]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen['topics'] == ['/front/bond']
    assert seen['id'] == 'eyes'
    assert 0.05 < seen['period_s'] < 0.4
    assert seen['after_close'] is False  # told, so the manager need not wait for a timeout
    assert seen['is_acknowledged']
    assert not seen['beats_after_the_manager_left']
    assert seen['beats_for_another_manager']
    assert seen['publishers_with_period_0'] == 0
