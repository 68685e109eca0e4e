"""A whole evaluation: index the bags, measure their parts, and sum them up.

Measures of finished parts are kept in the output folder. An evaluation that was interrupted goes on there.
Its results are the same to the digit, but for times.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from seg_ros.bag_evaluation.frames import BagProblem, FrameIndex, index_frames
from seg_ros.bag_evaluation.measures import PART_LENGTH, RUN_LENGTH, PartMeasures, write_whole
from seg_ros.bag_evaluation.parts import BagJob, PartResult, evaluate_parts, loaded
from seg_ros.bag_evaluation.results import valid_text
from seg_ros.bag_evaluation.summary import BagMeasures
from seg_ros.bag_evaluation.systems import System, SystemFailure
from seg_ros.bag_evaluation.truth import LabelSource
from seg_ros.bags.image_names import bag_stem
from seg_ros.errors import SegRosError, UnavailableError

log = logging.getLogger(__name__)

_N_LISTED = 20


@dataclass(frozen=True)
class Request:
    """Bags, systems and labels of an evaluation.

    Attributes:
        bags: Paths of the bags.
        topic: Image topic; None = the only image topic of each bag.
        labels: Place of the true labels.
        systems: Systems.
        reference: System with whose labels the others are compared; None = none.
        folder: Folder for the measures of finished parts.
        frames_per_part: See ``BagJob``.
        frames_per_run: See ``BagJob``.
    """

    bags: tuple[Path, ...]
    topic: str | None
    labels: LabelSource
    systems: tuple[System, ...]
    reference: System | None
    folder: Path
    frames_per_part: int = PART_LENGTH
    frames_per_run: int = RUN_LENGTH


class PartTask(NamedTuple):
    """Neighbouring parts of a bag, and the systems that have not measured them yet."""

    job: BagJob
    parts: tuple[int, ...]
    systems: tuple[System, ...]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return sum(self.job.part_length(part) for part in self.parts)


@dataclass
class BagOutcome:
    """A bag and the measures of all systems on it.

    Attributes:
        name: Name of the bag, unique in the evaluation.
        job: The bag.
        measures: Key of a system -> its measures.
        losses: Messages that could not be used, listed once each.
        n_labels_lost: Number of labels that could not be used.
    """

    name: str
    job: BagJob
    measures: dict[str, PartMeasures]
    losses: list[BagProblem]
    n_labels_lost: int

    @property
    def frames(self) -> FrameIndex:
        """Frames of the bag."""
        return self.job.frames

    def of(self, system: System) -> BagMeasures:
        """Measures of a system."""
        times = self.frames.stamps_ns
        start = int(times[0]) if times[0] > 0 else int(self.frames.received_ns[0])
        return BagMeasures(self.name, start, self.measures[system.key])


@dataclass
class Outcome:
    """Measures of all bags.

    Attributes:
        request: Request, with the systems that could be loaded.
        bags: Evaluated bags.
        failures: Bags or systems that could not be evaluated.
    """

    request: Request
    bags: list[BagOutcome] = field(default_factory=list)
    failures: list[SystemFailure] = field(default_factory=list)


Index = tuple[Path, BagJob | SegRosError]
"""A bag, and its index or the reason why it has none."""
Result = tuple[PartTask, PartResult | SegRosError]
"""A task and the result of one of its parts, or the reason why the task ended."""


@dataclass(frozen=True)
class Workers:
    """Processes that do the work.

    Attributes:
        index: Indexes bags; calls the second argument after each of them.
        run: Runs tasks and yields each part; calls the second argument with numbers of finished frames.
    """

    index: Callable[[Request, Callable[[int], object]], Iterator[Index]]
    run: Callable[[Sequence[PartTask], Callable[[int], object]], Iterator[Result]]


def index_here(request: Request, report: Callable[[int], object]) -> Iterator[Index]:
    """Index the bags one after the other in this process."""
    for path in dict.fromkeys(request.bags):
        yield path, index_bag(request, path)
        report(1)


def run_here(tasks: Sequence[PartTask], report: Callable[[int], object]) -> Iterator[Result]:
    """Run tasks one after the other in this process."""
    for task in tasks:
        try:
            for result in evaluate_parts(task.job, task.parts, task.systems, report):
                yield task, result
        except SegRosError as err:
            yield task, err


HERE = Workers(index_here, run_here)
"""This process alone."""


def index_bag(request: Request, path: Path) -> BagJob | SegRosError:
    """Index a bag and look for its labels; returns the reason if that is not possible."""
    try:
        frames = index_frames(path, request.topic, request.labels.topic)
        labels = request.labels.matched(frames)
        labels.open(frames, request.systems[0].classes)
    except SegRosError as err:
        return err
    lengths = request.frames_per_part, request.frames_per_run
    return BagJob(frames, labels, request.systems, request.reference, *lengths)


def evaluate(request: Request, workers: Workers = HERE, *, group: int = 0) -> Outcome:
    """Evaluate systems on bags.

    Args:
        request: Bags, systems and labels.
        workers: Processes that do the work.
        group: Maximum number of parts in a task; 0 = no limit.

    Returns:
        Measures of all bags that could be read, by all systems that could be loaded.

    Raises:
        SegRosError: No bag or no system can be evaluated; the message is that of the first.
    """
    outcome = Outcome(request)
    request = outcome.request = _loadable(request, outcome)
    jobs = _index(request, workers, outcome)
    tasks = [task for job in jobs.values() for task in _missing(job, request.folder, group)]
    _run_tasks(jobs, tasks, request, workers, outcome)
    for name, job in jobs.items():
        bag = _collect(name, job, request)
        if bag.measures:
            outcome.bags.append(bag)
    if not outcome.bags:
        raise UnavailableError('; '.join(f.reason for f in outcome.failures) or 'nothing was measured')
    return outcome


def _loadable(request: Request, outcome: Outcome) -> Request:
    """The request with the systems that can be loaded; the others are failures.

    If one of them was the reference, the first of the others takes its place.
    """
    found, first = list[System](), None
    for system in request.systems:
        try:
            loaded(system)
            found.append(system)
        except SegRosError as err:
            first = first or err
            log.error('%s: %s', system.name, err)
            outcome.failures.append(SystemFailure(system.name, '', str(err)))
    if not found:
        raise first or UnavailableError('no model was given; choose one with --models')
    reference = request.reference
    if reference is not None and reference in request.systems and reference not in found:
        reference = found[0] if len(found) > 1 else None
    return replace(request, systems=tuple(found), reference=reference)


def _index(request: Request, workers: Workers, outcome: Outcome) -> dict[str, BagJob]:
    """Indexed bags by name; the others are failures.

    Raises:
        SegRosError: No bag can be indexed.
    """
    names = {path: name for name, path in _names(request.bags).items()}
    with tqdm(total=len(names), desc='indexing', unit='bag', disable=None, leave=False) as progress:
        found = dict(workers.index(request, progress.update))
    jobs, first = dict[str, BagJob](), None
    for path, name in names.items():
        job = found[path]
        if isinstance(job, BagJob):
            jobs[name] = job
            continue
        first = first or job
        log.error('%s: %s', name, job)
        outcome.failures.append(SystemFailure('', name, str(job)))
    if not jobs:
        raise first or UnavailableError('no bag was given')
    return jobs


def _run_tasks(
    jobs: dict[str, BagJob], tasks: Sequence[PartTask], request: Request, workers: Workers, outcome: Outcome
) -> None:
    names = {id(job): name for name, job in jobs.items()}
    total = sum(job.frames.n_frames for job in jobs.values())
    left = sum(task.n_frames for task in tasks)
    failed = set[int]()
    with tqdm(total=total, initial=total - left, desc='evaluating', unit='frame', disable=None) as progress:
        for task, result in workers.run(tasks, progress.update):
            if isinstance(result, SegRosError):
                name = names[id(task.job)]
                if id(task.job) not in failed:
                    log.error('%s: %s', name, result)
                    outcome.failures.append(SystemFailure('', name, str(result)))
                failed.add(id(task.job))
                continue
            for key, measures in result.measures.items():
                measures.save(part_path(request.folder, task.job, key, result.part))
            _save_problems(request.folder, task.job, result)


def part_path(folder: Path, job: BagJob, key: str, part: int) -> Path:
    """File of the measures of a system on a part."""
    return folder / job.key / key / f'{part:06}.npz'


def _missing(job: BagJob, folder: Path, group: int) -> Iterator[PartTask]:
    """Tasks for the parts that are not measured yet; neighbouring parts with the same systems go together."""
    parts: list[int] = []
    systems: tuple[System, ...] = ()
    for part in range(job.n_parts):
        lacking = tuple(s for s in job.systems if not _is_done(job, folder, s, part))
        if parts and (lacking != systems or part != parts[-1] + 1 or (group and len(parts) >= group)):
            yield PartTask(job, tuple(parts), systems)
            parts = []
        if lacking:
            parts.append(part)
            systems = lacking
    if parts:
        yield PartTask(job, tuple(parts), systems)


def _is_done(job: BagJob, folder: Path, system: System, part: int) -> bool:
    return PartMeasures.load(part_path(folder, job, system.key, part), len(system.classes)) is not None


def _collect(name: str, job: BagJob, request: Request) -> BagOutcome:
    """Measures of all parts of a bag; a system that lacks a part has only the others."""
    measures = {}
    for system in job.systems:
        k = len(system.classes)
        found = [
            PartMeasures.load(part_path(request.folder, job, system.key, part), k)
            for part in range(job.n_parts)
        ]
        joined = PartMeasures.joined([part for part in found if part is not None], k)
        if joined.n_frames:
            measures[system.key] = joined
    problems, n_labels = _read_problems(request.folder, job)
    losses = [*job.frames.losses, *problems]
    if job.labels.problem is not None:
        losses.append(job.labels.problem)
        n_labels += job.labels.problem.n_messages or 0
    return BagOutcome(name, job, measures, losses, n_labels)


def _save_problems(folder: Path, job: BagJob, result: PartResult) -> None:
    path = folder / job.key / 'problems' / f'{result.part:06}.json'
    if result.n_problems:
        write_whole(path, json.dumps([result.n_problems, result.n_labels, result.problems]).encode())


def _read_problems(folder: Path, job: BagJob) -> tuple[list[BagProblem], int]:
    """Frames and labels that could not be used: the first 20, and the number of others; number of labels."""
    lines, n_problems, n_labels = list[str](), 0, 0
    for path in sorted((folder / job.key / 'problems').glob('*.json')):
        n_of_part, n_labels_of_part, of_part = json.loads(path.read_text())
        n_problems += n_of_part
        n_labels += n_labels_of_part
        lines += of_part[: _N_LISTED - len(lines)]
    losses = [BagProblem(line, 1) for line in lines]
    n_more = n_problems - len(losses)
    if n_more:
        losses.append(BagProblem('further frames or labels that cannot be used', n_more))
    return losses, n_labels


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Unique names of the bags; bags of one name are numbered."""
    found = dict[str, Path]()
    for path in dict.fromkeys(paths):
        stem = name = valid_text(bag_stem(path))
        number = 1
        while name in found:
            number += 1
            name = f'{stem}_{number}'
        found[name] = path
    return found
