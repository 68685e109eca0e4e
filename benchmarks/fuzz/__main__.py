"""Fuzzing: changed inputs on every input surface; only SegRosError may get out, in bounded time and memory.

    ./scripts/fuzz 30                        # minutes, over all targets
    ./scripts/fuzz 10 bag_mcap class_file    # these targets
    ./scripts/fuzz --seeds                   # only the seeds, each once

atheris guides the changes by coverage where it is installed (the extra `fuzz`). Failing inputs are in
build/fuzz/TARGET/failures. Ends with code 1 if there are any.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

_STUCK_S = 60.0
_MAX_RESTARTS = 50
_START_S = 60.0
_MINIMISE_S = 300.0
_QUIET = {'OPENCV_LOG_LEVEL': 'SILENT', 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore'}


def main() -> int:
    """Run the targets one after the other; returns the exit code."""
    given = _arguments()
    if given.worker:
        return _work(given)
    if find_spec('atheris') is None and not given.seeds:
        print(
            'atheris is not installed, so inputs are changed without coverage. Install it with: '
            f'{sys.executable} -m pip install atheris (Python 3.11 to 3.13)',
            file=sys.stderr,
        )
    names = given.targets or _all_targets()
    if given.seeds:
        return _run_seeds(names)
    seconds = given.minutes * 60 / len(names)
    n_failures = 0
    for name in names:
        folder = given.output / name
        folder.mkdir(parents=True, exist_ok=True)
        n_failures += _fuzz_target(name, folder, seconds, given.seed)
    return int(n_failures > 0)


def _arguments() -> argparse.Namespace:
    summary, _, details = __doc__.partition('\n')
    parser = argparse.ArgumentParser(
        'fuzz', description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('minutes', type=float, nargs='?', default=10.0, help='time over all targets (10)')
    parser.add_argument('targets', nargs='*', metavar='target', help='names of targets (all)')
    parser.add_argument('--seeds', action='store_true', help='try only the seeds')
    parser.add_argument('--seed', type=int, default=int(time.time()), help='seed of the changes (the time)')
    parser.add_argument(
        '-o', '--output', type=Path, default=HERE.parents[1] / 'build' / 'fuzz', metavar='DIR'
    )
    parser.add_argument('--worker', choices=('fuzz', 'minimise'), help=argparse.SUPPRESS)
    return parser.parse_args()


def _all_targets() -> list[str]:
    from targets import TARGETS

    return list(TARGETS)


def _run_seeds(names: list[str]) -> int:
    """Try the seeds of targets in this process."""
    import logging

    from check import limit_memory, problem_of
    from targets import TARGETS

    logging.disable(logging.CRITICAL)
    problems = []
    for name in names:
        target = TARGETS[name]
        seeds = target.seeds()
        limit_memory(target)
        with tempfile.TemporaryDirectory() as folder:
            found = [problem_of(target, seed, Path(folder)) for seed in seeds]
        problems += [f'{name}: {problem}' for problem in found if problem]
        print(f'{name:20}{len(seeds):4} seeds')
    print('\n'.join(problems), file=sys.stderr)
    return int(bool(problems))


def _work(given: argparse.Namespace) -> int:
    """The part of a worker process."""
    import worker

    def load() -> worker.Target:
        from targets import TARGETS

        return TARGETS[given.targets[0]]

    folder = given.output / given.targets[0]
    if given.worker == 'fuzz':
        worker.fuzz(load, folder, given.minutes * 60, given.seed)
    else:
        worker.minimise(load(), folder)
    return 0


def _fuzz_target(name: str, folder: Path, seconds: float, seed: int) -> int:
    """Fuzz one target, in a new process after each crash; returns the number of failures."""
    n_inputs, start, coverage = 0, time.monotonic(), ''
    for number in range(_MAX_RESTARTS):
        left = seconds - (time.monotonic() - start)
        if left < 1:
            break
        reason = _run_worker(name, folder, left, seed + number)
        report = _read_report(folder)
        n_inputs += report
        coverage = _coverage(folder / 'fuzz.log') or coverage
        if reason and not report:
            print(f'{name}: the worker does not start ({reason}); see {folder / "fuzz.log"}', file=sys.stderr)
            return 1
        if reason:
            _keep_crash(folder, reason)
    _minimise(name, folder, seed)
    failures = sorted((folder / 'failures').glob('*.txt'))
    hours = (time.monotonic() - start) / 3600
    print(
        f'{name:20}{n_inputs:10,} inputs  {hours:6.3f} h  {coverage:>10}  {len(failures)} failures',
        flush=True,
    )
    for path in failures:
        print(f'    {path.with_suffix("")}\n        {path.read_text()}', flush=True)
    return len(failures)


def _minimise(name: str, folder: Path, seed: int) -> None:
    """Shorten failing inputs, as far as that takes less than five minutes."""
    if not any((folder / 'failures').iterdir()):
        return
    process = _start_worker('minimise', name, folder, 1, seed)
    try:
        process.wait(_MINIMISE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start_worker(kind: str, name: str, folder: Path, seconds: float, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(HERE), f'{seconds / 60:.4f}', name, '--worker', kind, '--seed', str(seed)]
    with (folder / f'{kind}.log').open('wb') as log:
        return subprocess.Popen(
            [*command, '-o', str(folder.parent)], stdout=log, stderr=log, env={**os.environ, **_QUIET}
        )


def _run_worker(name: str, folder: Path, seconds: float, seed: int) -> str:
    """Run a worker; returns the reason why it ended badly, or ''."""
    (folder / 'report.json').unlink(missing_ok=True)
    process = _start_worker('fuzz', name, folder, seconds, seed)
    report, last, changed = folder / 'report.json', '', time.monotonic()
    while process.poll() is None:
        time.sleep(0.5)
        now = report.read_text() if report.exists() else ''
        if now != last:
            last, changed = now, time.monotonic()
        elif time.monotonic() - changed > _STUCK_S + (0 if now else _START_S):
            process.send_signal(signal.SIGUSR1)
            time.sleep(1)
            process.kill()
            process.wait()
            shutil.copy(folder / 'fuzz.log', folder / 'stuck.log')
            return f'time: more than {_STUCK_S:g} s'
    code = process.returncode
    if code == 0:
        return ''
    return f'crash: {signal.Signals(-code).name if code < 0 else f"exit code {code}"}'


def _keep_crash(folder: Path, reason: str) -> None:
    """Store the input that was being tried when a worker died."""
    from worker import store_failure

    content = (folder / 'current').read_bytes()
    n = int.from_bytes(content[:8], 'little')
    store_failure(folder, content[8 : 8 + n], reason)


def _read_report(folder: Path) -> int:
    try:
        return int(json.loads((folder / 'report.json').read_text())['n_inputs'])
    except (OSError, ValueError):
        return 0


def _coverage(log: Path) -> str:
    """Number of edges that atheris has seen, from its log."""
    found = re.findall(rb'cov: (\d+)', log.read_bytes())
    return f'{int(found[-1])} edges' if found else ''


if __name__ == '__main__':
    sys.exit(main())
