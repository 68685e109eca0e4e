"""One process that tries inputs on one target, guided by coverage where atheris is installed."""

import contextlib
import faulthandler
import hashlib
import json
import logging
import mmap
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from check import limit_memory, problem_of
from mutation import change_bytes
from target import Target

_REPORT_S = 0.5
_N_MINIMISE = 400


class Worker:
    """Tries inputs, counts them and stores failing ones.

    Args:
        target: The target.
        folder: Folder of the target: ``failures/``, ``corpus/``, and the input that is being tried.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        self.n_inputs = 0
        self._files = folder / 'files'
        for part in (self._files, folder / 'failures', folder / 'corpus'):
            part.mkdir(parents=True, exist_ok=True)
        self._known = {path.read_text() for path in (folder / 'failures').glob('*.txt')}
        self._current = _shared(folder / 'current', 2 * target.largest)
        self._start = self._reported = time.monotonic()
        self._write_seeds()

    def try_input(self, data: bytes) -> None:
        """Try one input; the parent process finds it if this process dies."""
        self._current[: len(data) + 8] = len(data).to_bytes(8, 'little') + data
        problem = problem_of(self.target, data, self._files)
        self.n_inputs += 1
        if problem and problem not in self._known:
            self._known.add(problem)
            store_failure(self.folder, data, problem)
        if time.monotonic() - self._reported > _REPORT_S:
            self.report()

    def change(self, data: bytes, random: Random) -> bytes:
        """Change an input in one of the ways of the target."""
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            if self.target.changes and random.random() < 0.6:
                data = self._restructured(data, random)
            else:
                data = change_bytes(data, random, self.target.tokens)
        return data[: self.target.largest]

    def _restructured(self, data: bytes, random: Random) -> bytes:
        """Change an input by its structure; damaged ones may not have it any more."""
        try:
            return random.choice(self.target.changes)(data, random)
        except Exception:  # noqa: BLE001 - the parsers of the changes fail in many ways
            return change_bytes(data, random, self.target.tokens)

    def report(self) -> None:
        """Write the number of inputs so far."""
        self._reported = time.monotonic()
        report = {'n_inputs': self.n_inputs, 'seconds': self._reported - self._start}
        (self.folder / 'report.json').write_text(json.dumps(report))

    def seeds(self) -> list[bytes]:
        """Seeds, and inputs that earlier runs have kept."""
        return [path.read_bytes() for path in sorted((self.folder / 'corpus').iterdir())]

    def _write_seeds(self) -> None:
        for data in self.target.seeds():
            (self.folder / 'corpus' / _digest(data)).write_bytes(data)


def fuzz(load: Callable[[], Target], folder: Path, seconds: float, seed: int) -> None:
    """Try inputs for a time. With atheris, this does not return.

    Args:
        load: Imports a target.
        folder: Folder of the target.
        seconds: Time in seconds.
        seed: Seed of the changes.
    """
    logging.disable(logging.CRITICAL)
    faulthandler.register(signal.SIGUSR1)  # the parent process asks a worker that is stuck where it is
    atheris = find_atheris()
    with _instrumented(atheris) if atheris else contextlib.nullcontext():
        target = load()
    worker = Worker(target, folder)
    limit_memory(target)
    if atheris:
        _fuzz_by_coverage(atheris, worker, seconds, seed)
    else:
        _fuzz_blindly(worker, seconds, seed)
    worker.report()


def find_atheris() -> Any:
    """The module atheris; None if it is not installed."""
    try:
        import atheris
    except ImportError:
        return None
    return atheris


def minimise(target: Target, folder: Path) -> None:
    """Make the failing inputs of a target shorter while they fail in the same way."""
    logging.disable(logging.CRITICAL)
    worker = Worker(target, folder)
    limit_memory(target)
    for path in sorted((folder / 'failures').glob('*.txt')):
        problem, data = path.read_text(), path.with_suffix('').read_bytes()
        if problem.startswith(('foreign', 'contract', 'message')):
            path.with_suffix('').write_bytes(_shortened(worker, data, problem))


def store_failure(folder: Path, data: bytes, problem: str) -> None:
    """Store a failing input and its problem."""
    path = folder / 'failures' / _digest(data)
    path.write_bytes(data)
    path.with_name(f'{path.name}.txt').write_text(problem)


def _instrumented(atheris: Any) -> Any:
    """Context in which modules of seg_ros count their branches, except those that Numba compiles."""
    (root,) = find_spec('seg_ros').submodule_search_locations
    paths = [path for path in Path(root).rglob('*.py') if 'seg_ros._numba import' in path.read_text()]
    names = ['.'.join(('seg_ros', *path.relative_to(root).with_suffix('').parts)) for path in paths]
    return atheris.instrument_imports(include=['seg_ros'], exclude=names)


def _fuzz_by_coverage(atheris: Any, worker: Worker, seconds: float, seed: int) -> None:
    def change(data: bytes, max_size: int, number: int) -> bytes:
        random = Random(number)
        changed = atheris.Mutate(data, max_size) if random.random() < 0.3 else worker.change(data, random)
        return bytes(changed[:max_size])

    options = [
        f'-max_total_time={max(int(seconds), 1)}', f'-max_len={worker.target.largest}',
        f'-seed={seed % 2**31 or 1}',
        '-rss_limit_mb=0', '-timeout=600', f'-artifact_prefix={worker.folder}/', '-len_control=0',
    ]  # fmt: skip
    corpus = str(worker.folder / 'corpus')
    atheris.Setup(['fuzz', *options, corpus], worker.try_input, custom_mutator=change)
    atheris.Fuzz()


def _fuzz_blindly(worker: Worker, seconds: float, seed: int) -> None:
    random, seeds = Random(seed), worker.seeds()
    end = time.monotonic() + seconds
    for data in seeds:
        worker.try_input(data)
    while time.monotonic() < end:
        worker.try_input(worker.change(random.choice(seeds), random))


def _shortened(worker: Worker, data: bytes, problem: str) -> bytes:
    """A short input with the same problem: parts are left out, ever smaller ones."""
    size, n_tries = max(len(data) // 2, 1), 0
    while n_tries < _N_MINIMISE:
        place, is_shorter = 0, False
        while place < len(data) and n_tries < _N_MINIMISE:
            shorter = data[:place] + data[place + size :]
            n_tries += 1
            if problem_of(worker.target, shorter, worker.folder / 'files') == problem:
                data, is_shorter = shorter, True
            else:
                place += size
        if size == 1 and not is_shorter:
            break
        size = max(size // 2, 1)
    return data


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _shared(path: Path, size: int) -> mmap.mmap:
    """Memory that outlives this process."""
    path.write_bytes(bytes(size + 8))
    with path.open('r+b') as file:
        return mmap.mmap(file.fileno(), 0)
