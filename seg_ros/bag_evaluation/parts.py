"""Evaluation of parts of a bag: the work of one process.

A part is computed from its own frames and the one before it. So its measures do not depend on the process
that computes it, or on the order of the parts.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from seg_ros import __version__
from seg_ros.arrays import UInt8Array
from seg_ros.bag_evaluation.frames import BagFrame, FrameIndex
from seg_ros.bag_evaluation.measures import PART_LENGTH, RUN_LENGTH, PartMeasures, RunCounter, stacked
from seg_ros.bag_evaluation.meter import FrameView, SystemMeter, follows
from seg_ros.bag_evaluation.systems import System
from seg_ros.bag_evaluation.truth import LabelSource, Truth
from seg_ros.bags.image_names import bag_stem
from seg_ros.errors import SegRosError
from seg_ros.inference.segmenter import Segmenter

log = logging.getLogger(__name__)

_FORMAT = 2
"""Increased whenever the measures of a part change their meaning."""
_N_PROBLEMS = 100


@dataclass(frozen=True)
class BagJob:
    """Everything that decides about the measures of a bag.

    Attributes:
        frames: Frames of the bag.
        labels: Place of the true labels.
        systems: Systems to measure, all of the same classes.
        reference: System with whose labels the others are compared; None = no comparison.
        frames_per_part: Number of frames of a part, a multiple of ``frames_per_run``.
        frames_per_run: Number of consecutive frames of a run, the unit of the bootstrap.
    """

    frames: FrameIndex
    labels: LabelSource
    systems: tuple[System, ...]
    reference: System | None
    frames_per_part: int = PART_LENGTH
    frames_per_run: int = RUN_LENGTH

    @property
    def n_parts(self) -> int:
        """Number of parts."""
        return -(-self.frames.n_frames // self.frames_per_part)

    @cached_property
    def key(self) -> str:
        """Name for files that changes whenever the measures may change."""
        content = [
            _FORMAT,
            __version__,
            str(self.frames.path.resolve()),
            _state_of(self.frames.path),
            self.frames.topic,
            self.labels.topic,
            _state_of(self.labels.folder),
            self.reference.key if self.reference else '',
            self.frames_per_part,
            self.frames_per_run,
        ]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        return f'{bag_stem(self.frames.path)[:60]}-{digest}'

    def part_length(self, part: int) -> int:
        """Number of frames of a part."""
        return min(self.frames_per_part, self.frames.n_frames - part * self.frames_per_part)


class PartResult(NamedTuple):
    """Measures of all asked systems on one part.

    Attributes:
        part: Number of the part.
        measures: Key of a system -> its measures.
        problems: Frames or labels that could not be used, one line each.
        n_problems: Number of them, also of those that are not listed.
        n_labels: Number of labels among them.
    """

    part: int
    measures: dict[str, PartMeasures]
    problems: list[str]
    n_problems: int
    n_labels: int


def evaluate_parts(
    job: BagJob,
    parts: Sequence[int],
    systems: Sequence[System],
    report: Callable[[int], object] = lambda n_frames: None,
) -> Iterator[PartResult]:
    """Measure systems on consecutive parts of a bag.

    Args:
        job: The bag.
        parts: Numbers of consecutive parts, in order.
        systems: Systems to measure.
        report: Called with the number of frames done since the last call.

    Raises:
        SegRosError: The bag, the labels or a model cannot be read.
    """
    walk = _Walk(job, systems)
    length = job.frames_per_part
    start = parts[0] * length
    frames = job.frames.frames(max(start - 1, 0), min((parts[-1] + 1) * length, job.frames.n_frames))
    part: _Part | None = None
    for frame in frames:
        if frame.index < start:
            walk.look(frame)
            continue
        if part is None:
            part = _Part(frame.index // length, len(systems))
        walk.measure(frame, part)
        report(1)
        if (frame.index + 1) % length == 0 or frame.index + 1 == job.frames.n_frames:
            yield part.result(systems)
            part = None
    if part is not None:
        yield part.result(systems)


class _Part:
    """Measures of a part while it is computed."""

    def __init__(self, number: int, n_systems: int) -> None:
        self.number = number
        self.runs: list[list[RunCounter]] = [[] for _ in range(n_systems)]
        self.values: list[list[dict[str, object]]] = [[] for _ in range(n_systems)]
        self.problems, self.n_problems, self.n_labels = list[str](), 0, 0
        self._run = -1

    def enter_run(self, run: int, systems: Sequence[System]) -> None:
        """Begin a new run if this is another one."""
        if run != self._run:
            self._run = run
            for runs, system in zip(self.runs, systems, strict=True):
                runs.append(RunCounter(len(system.classes)))

    def tell(self, problem: str) -> None:
        """Take note of something that could not be used."""
        self.n_problems += 1
        if len(self.problems) < _N_PROBLEMS:
            self.problems.append(problem)

    def tell_labels(self, problem: str) -> None:
        """Take note of labels that could not be used."""
        self.n_labels += 1
        self.tell(problem)

    def result(self, systems: Sequence[System]) -> PartResult:
        """Measures of all systems."""
        measures = {
            system.key: stacked(runs, values, len(system.classes))
            for system, runs, values in zip(systems, self.runs, self.values, strict=True)
        }
        return PartResult(self.number, measures, self.problems, self.n_problems, self.n_labels)


class _Walk:
    """Goes through frames in order; keeps the frame before."""

    def __init__(self, job: BagJob, systems: Sequence[System]) -> None:
        self._systems, self._frames_per_run = systems, job.frames_per_run
        self._meters = [SystemMeter(loaded(system)) for system in systems]
        meters = dict(zip([system.key for system in systems], self._meters, strict=True))
        self._reference = _reference_of(job, meters)
        self._truth = job.labels.open(job.frames, systems[0].classes)
        self._before: FrameView | None = None

    def look(self, frame: BagFrame) -> None:
        """Take note of the frame before the first one."""
        if frame.image is None:
            return
        view = FrameView(frame, frame.image, None, None, None)
        for meter in self._meters:
            meter.look(view)
        self._before = view

    def measure(self, frame: BagFrame, part: _Part) -> None:
        """Measure a frame; one that cannot be read is told."""
        part.enter_run(frame.index // self._frames_per_run, self._systems)
        if frame.image is None:
            part.tell(f'frame {frame.index}: {frame.problem}')
            self._before = None
            return
        before = self._before if self._before and follows(self._before.frame, frame) else None
        truth = _labels_of(frame, self._truth, part)
        reference = self._reference(frame, frame.image) if self._reference else None
        view = FrameView(frame, frame.image, truth, reference, before)
        for meter, runs, values in zip(self._meters, part.runs, part.values, strict=True):
            values.append(meter.measure(view, runs[-1]))
        self._before = view.without_past()


def _reference_of(
    job: BagJob, meters: Mapping[str, SystemMeter]
) -> Callable[[BagFrame, UInt8Array], UInt8Array] | None:
    """Function that gives the labels of the reference; a reference that is measured too runs once."""
    if job.reference is None:
        return None
    if job.reference.key in meters:
        return meters[job.reference.key].labels
    segmenter = loaded(job.reference)
    return lambda frame, image: segmenter(image, segments=False).labels


def _labels_of(frame: BagFrame, truth: Truth | None, part: _Part) -> UInt8Array | None:
    if truth is None:
        return None
    try:
        return truth.labels(frame)
    except SegRosError as err:
        part.tell_labels(f'labels of frame {frame.index}: {err}')
        return None


@lru_cache(maxsize=8)
def loaded(system: System) -> Segmenter:
    """The segmenter of a system; the last eight are kept."""
    return Segmenter.load(system.settings)


def _state_of(path: Path | None) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a file, or of all files of a folder."""
    if path is None:
        return []
    files = sorted(p for p in path.rglob('*') if p.is_file()) if path.is_dir() else [path]
    return [(str(p.relative_to(path)), s.st_size, s.st_mtime_ns) for p in files if (s := p.stat())]
