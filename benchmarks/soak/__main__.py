"""Soak: the real node at 30 Hz with random faults; every crash, stuck state, leak and slow recovery is told.

    ./scripts/soak 60                          # minutes
    ./scripts/soak 5 --seed 7 --json soak.json

Ends with code 1 if anything was wrong.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults import FAULTS, Fault, Faults
from robot import NodeUnderTest, Robot, Sample

from seg_ros.modelfile.find import find_model
from seg_ros.ros.dds import large_image_transport, local_domain, reserved_domain
from seg_ros.synthetic import RenderedDrive

_CALM_S = 3.0
_START_S = 180.0
_LONGEST_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """One fault, and what the node did.

    Attributes:
        fault: Name of the fault.
        at_s: Time since the start, in seconds.
        recovery_s: Time from the end of the fault to labels of a new frame; None if none came.
        is_named: Whether diagnostics named it.
        is_in_time: Whether labels came within the limit.
    """

    fault: str
    at_s: float
    recovery_s: float | None
    is_named: bool
    is_in_time: bool


def main() -> int:
    """Run the soak; returns 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('minutes', type=float, nargs='?', default=5.0, help='duration in minutes, default 5')
    parser.add_argument('--seed', type=int, default=1, help='seed of the faults')
    parser.add_argument('--backend', default='auto', help='backend of the node')
    parser.add_argument(
        '--only', nargs='+', default=[''], help='faults whose names contain one of these texts'
    )
    parser.add_argument('--json', type=Path, help='file for the results')
    parser.add_argument('--keep', type=Path, help='file for the log of the node')
    given = parser.parse_args()
    if not _chosen(given.only):
        names = ', '.join(fault.name for fault in FAULTS)
        parser.error(f'--only {given.only}: no fault has such a name; there are {names}')
    os.environ.update(large_image_transport(os.environ))
    with tempfile.TemporaryDirectory(prefix='seg_ros_soak_') as name, reserved_domain() as domain:
        os.environ.update(local_domain(domain))
        return _soak(Path(name), given)


def _chosen(texts: list[str]) -> list[Fault]:
    return [fault for fault in FAULTS if any(text in fault.name for text in texts)]


def _soak(folder: Path, given: argparse.Namespace) -> int:
    for copy in ('running', 'good'):
        shutil.copy(find_model('lite_camvid'), folder / f'{copy}.safetensors')
    words = ['autostart:=true', f'model:={folder}/running.safetensors', f'backend:={given.backend}']
    words += ['device:=cpu', 'diagnostics_period_s:=0.2']
    with NodeUnderTest(folder, [word for pair in words for word in ('-p', pair)]) as node:
        return _soak_node(node, folder, given)


def _soak_node(node: NodeUnderTest, folder: Path, given: argparse.Namespace) -> int:
    robot = Robot([RenderedDrive(3, 4, 480, 640)[k][0] for k in range(4)])
    started = time.monotonic()
    if robot.wait_for_labels(time.time_ns(), _START_S) is None:
        print('the node gave no labels; its log ends with:', node.log.read_text()[-3000:], sep='\n')
        return 1
    print(f'active after {time.monotonic() - started:.1f} s')
    faults = Faults(robot, node, folder, given.seed)
    chosen = _chosen(given.only)
    order, outcomes, samples = random.Random(given.seed), list[Outcome](), list[Sample]()
    end = time.monotonic() + 60 * given.minutes
    queue: list[Fault] = []
    while time.monotonic() < end and node.is_alive():
        queue = queue or order.sample(chosen, len(chosen))
        fault = queue.pop()
        outcomes.append(_inject(fault, faults, robot, started))
        if not node.is_alive():
            break
        if not outcomes[-1].is_in_time:
            faults.restore()
        time.sleep(_CALM_S)
        samples.append(node.sample())
        print(_line(outcomes[-1], samples[-1]), flush=True)
    code = _report(outcomes, samples, node, given)
    if given.keep:
        shutil.copy(node.log, given.keep)
    node.signal(signal.SIGINT)
    ended = time.monotonic()
    node.process.wait(20)
    print(f'ended with code {node.process.returncode}, {time.monotonic() - ended:.1f} s after SIGINT')
    robot.close()
    return code


def _inject(fault: Fault, faults: Faults, robot: Robot, started: float) -> Outcome:
    began = time.monotonic()
    fault.inject(faults)
    recovery_s = robot.wait_for_labels(time.time_ns(), _LONGEST_S)
    is_named = not fault.named_by or robot.said_since(began, fault.named_by)
    in_time = recovery_s is not None and recovery_s <= fault.recovery_s
    return Outcome(fault.name, began - started, recovery_s, is_named, in_time)


def _line(outcome: Outcome, sample: Sample) -> str:
    recovery = 'no labels' if outcome.recovery_s is None else f'{1e3 * outcome.recovery_s:5.0f} ms'
    marks = ('' if outcome.is_named else '  NOT NAMED') + ('' if outcome.is_in_time else '  SLOW')
    return (
        f'{outcome.at_s:6.0f} s  {outcome.fault:36} {recovery}   {sample.memory_mb:5.0f} MB '
        f'{sample.n_threads:3} threads {sample.n_files:3} files{marks}'
    )


def _report(
    outcomes: list[Outcome], samples: list[Sample], node: NodeUnderTest, given: argparse.Namespace
) -> int:
    by_name = defaultdict(list)
    for outcome in outcomes:
        by_name[outcome.fault].append(outcome)
    print(f'\n{"fault":38} {"times":>5} {"named":>6} {"recovery: median":>17} {"longest":>9}')
    for name, group in sorted(by_name.items()):
        times = [1e3 * (o.recovery_s if o.recovery_s is not None else _LONGEST_S) for o in group]
        named = sum(o.is_named for o in group)
        print(f'{name:38} {len(group):5} {named:6} {np.median(times):14.0f} ms {max(times):6.0f} ms')
    third = max(len(samples) // 3, 1)
    first, last = samples[:third], samples[-third:]
    growth = {
        name: float(
            np.median([getattr(s, name) for s in last]) - np.median([getattr(s, name) for s in first])
        )
        for name in ('memory_mb', 'n_threads', 'n_files')
    }
    print(
        '\nmedian of the last third less that of the first:',
        ', '.join(f'{k} {v:+.0f}' for k, v in growth.items()),
    )
    is_well = node.is_alive() and all(o.is_named and o.is_in_time for o in outcomes)
    print(
        'the node ran to the end'
        if node.is_alive()
        else f'THE NODE ENDED with code {node.process.returncode}'
    )
    if given.json:
        content = {
            'outcomes': [vars(o) for o in outcomes],
            'samples': [s._asdict() for s in samples],
            'growth': growth,
        }
        given.json.write_text(json.dumps(content, indent=1))
    return 0 if is_well else 1


if __name__ == '__main__':
    sys.exit(main())
