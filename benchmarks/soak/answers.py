"""Measures the node's answers while models load: services and diagnostics at configure, frames at a swap.

    python benchmarks/soak/answers.py --backend torch_compile

Prints the longest time of an answer, the longest time between two diagnostic messages while the node
configures, and the longest time between two label images before, during and after a swap of models.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters, ListParameters
from robot import NodeUnderTest, Robot

from seg_ros.ros.dds import large_image_transport, local_domain, reserved_domain
from seg_ros.synthetic import RenderedDrive

REQUESTS = (
    (GetState, '/seg_ros/get_state', GetState.Request()),
    (ListParameters, '/seg_ros/list_parameters', ListParameters.Request()),
    (GetParameters, '/seg_ros/get_parameters', GetParameters.Request(names=['model', 'backend'])),
)


def main() -> None:
    """Start the node, configure it, and swap models."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--backend', default='auto')
    parser.add_argument('--to', default='lite_camvid_int8', help='model to swap to')
    given = parser.parse_args()
    os.environ.update(large_image_transport(os.environ))
    with tempfile.TemporaryDirectory() as folder, reserved_domain() as domain:
        os.environ.update(local_domain(domain))
        words = ['-p', f'backend:={given.backend}', '-p', 'diagnostics_period_s:=0.1', '-p', 'device:=cpu']
        robot = Robot([RenderedDrive(3, 1, 480, 640)[0][0]], with_segments=False)
        for name in ('cold', 'warm'):
            node = NodeUnderTest(Path(folder), words)
            _configure(name, robot)
            robot.change_state('activate')
            if name == 'warm':
                _swap(robot, given.to)
            node.signal(signal.SIGINT)
            node.process.wait(30)
        robot.close()


def _configure(name: str, robot: Robot) -> None:
    for kind, service, request in REQUESTS:
        robot.call(kind, service, request)  # discovery
    started, answers = time.monotonic(), list[float]()
    outcome: list[bool | None] = []
    configure = threading.Thread(target=lambda: outcome.append(robot.change_state('configure')))
    configure.start()
    while configure.is_alive():
        for kind, service, request in REQUESTS:
            asked = time.monotonic()
            robot.call(kind, service, request)
            answers.append(1e3 * (time.monotonic() - asked))
        time.sleep(0.01)
    ended = time.monotonic()
    stamps = np.array([at_s for at_s, _ in robot.texts if started < at_s < ended])
    p50, p99, longest = np.percentile(answers, (50, 99, 100))
    print(
        f'configure, {name} caches: {outcome[0]} after {ended - started:.1f} s; {len(answers)} answers, '
        f'median {p50:.1f} ms, p99 {p99:.0f} ms, longest {longest:.0f} ms; '
        f'longest time between diagnostics {1e3 * np.diff(stamps).max(initial=0):.0f} ms (period 100 ms)'
    )


def _gaps(robot: Robot, since_s: float) -> str:
    stamps = np.array([at_s for at_s, _ in list(robot.labels) if at_s >= since_s])
    p50, p99, longest = 1e3 * np.percentile(np.diff(stamps), (50, 99, 100))
    return f'{len(stamps)} labels, median {p50:.0f} ms apart, p99 {p99:.0f} ms, longest {longest:.0f} ms'


def _swap(robot: Robot, model: str) -> None:
    robot.wait_for_labels(time.time_ns(), 30)
    time.sleep(2)
    since = time.monotonic()
    time.sleep(5)
    print('before the swap:', _gaps(robot, since))
    since, before = time.monotonic(), robot.values.get('digest')
    print('set model:', robot.set('model', model) or 'accepted')
    while robot.values.get('digest') == before and not robot.said_since(since, 'was not taken'):
        if time.monotonic() > since + 120:
            break
        time.sleep(0.05)
    print(f'swap after {time.monotonic() - since:.1f} s, while it loads:', _gaps(robot, since))
    around = [at_s for at_s, _ in list(robot.labels) if at_s > time.monotonic() - 1]
    time.sleep(2)
    since = around[0] if around else time.monotonic()
    print('from a second before the switch to two after it:', _gaps(robot, since))
    time.sleep(1)
    since = time.monotonic()
    time.sleep(5)
    print('after the swap:', _gaps(robot, since))


if __name__ == '__main__':
    main()
