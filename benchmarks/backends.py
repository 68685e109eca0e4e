"""Time all backends of shipped models in turns: start-up, wall time and processor time of the network.

Backends take turns, so that a change of load meets all of them. Processor time is of the whole process, all
threads together; unlike wall time it hardly depends on other programs. The network is timed alone, from an
image in memory to scores. Each start is made twice: the first may export, compile or convert, and the second
finds what was kept. With an empty folder as ``XDG_CACHE_HOME``, the first one is a start with empty caches.
onnxruntime and openvino share their export, so the one that is named first makes it.

    python benchmarks/backends.py lite_camvid_int8 enet_camvid_int8 --threads 2 --json backends.json
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.errors import SegRosError
from seg_ros.evaluation.figures import write_json
from seg_ros.inference.backends.backend import NetworkRunner
from seg_ros.inference.backends.machine import describe_machine
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.backends.select import choose_backend
from seg_ros.inference.memory import keep_freed_memory
from seg_ros.inference.served_model import ModelSource, ServedModel
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.levels import choose_quantization


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('models', nargs='+', help='names or paths of model files')
    parser.add_argument('--level', default='auto', help='level of precision; auto = that of each file')
    parser.add_argument('--backends', nargs='+', default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=30, help='number of turns')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    rows = [row for name in arguments.models for row in measure(ModelSource(Settings(model=name)), arguments)]
    print_rows(rows)
    if arguments.json:
        write_json(arguments.json, {'machine': describe_machine('cpu'), 'rows': rows})


def measure(source: ModelSource, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each backend that runs the model."""
    model = source.served
    level = choose_quantization(model, arguments.level)
    rows, runners = [], {}
    for name in arguments.backends:
        try:
            starts = [start(source, name, level, arguments.threads) for _ in range(2)]
        except SegRosError as err:
            print(f'{model.path.stem}, {name}: {err}')
            continue
        runners[name] = starts[1][0]
        seconds = {'first_start_s': starts[0][1], 'second_start_s': starts[1][1]}
        rows.append({'model': model.path.stem, 'level': level, 'backend': name, **seconds})
    times = time_networks(model, runners, arguments.rounds)
    return [{**row, **times[row['backend']]} for row in rows]


def start(source: ModelSource, name: str, level: str, n_threads: int) -> tuple[NetworkRunner, float]:
    """Backend, and seconds until it gave its first scores."""
    began = time.perf_counter()
    _, runner = choose_backend(source, name, level, 'cpu', n_threads)
    runner(images_of(source.served))
    return runner, time.perf_counter() - began


def time_networks(model: ServedModel, runners: dict[str, NetworkRunner], n_rounds: int) -> dict[str, Any]:
    """Milliseconds of each backend: shortest and median wall time, median processor time."""
    images = images_of(model)
    walls: dict[str, list[float]] = {name: [] for name in runners}
    cpus: dict[str, list[float]] = {name: [] for name in runners}
    for turn in range(-2, n_rounds):
        for name, run in runners.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run(images)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= 0:
                walls[name].append(1e3 * wall)
                cpus[name].append(1e3 * cpu)
    return {
        name: {
            'shortest_ms': min(walls[name]),
            'median_ms': statistics.median(walls[name]),
            'processor_ms': statistics.median(cpus[name]),
        }
        for name in runners
    }


def images_of(model: ServedModel) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (1, *model.input_size, 3), np.uint8)


def print_rows(rows: list[dict[str, Any]]) -> None:
    names = ('first_start_s', 'second_start_s', 'shortest_ms', 'median_ms', 'processor_ms')
    print('| model | level | backend |', *(f' {name} |' for name in names), sep='')
    print('|---' * (3 + len(names)) + '|')
    for row in rows:
        numbers = ' | '.join(f'{row[name]:.1f}' for name in names)
        print(f'| {row["model"]} | {row["level"]} | {row["backend"]} | {numbers} |')


if __name__ == '__main__':
    main()
