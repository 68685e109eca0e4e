"""From the measures of all parts to the figures of a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.bag_evaluation.measures import STAGES, PartMeasures, Values
from seg_ros.bag_evaluation.results import (
    AccuracyEntry,
    AgreementEntry,
    ConfidenceEntry,
    Histogram,
    Interval,
    NoveltyEntry,
    Percentiles,
    ReliabilityBin,
    RunTable,
    Series,
    StabilityEntry,
)
from seg_ros.classes import ClassSet
from seg_ros.evaluation.figures import percentiles
from seg_ros.metrics import batched
from seg_ros.metrics.bootstrap import Estimate, estimate
from seg_ros.metrics.calibration import reliability
from seg_ros.metrics.labels import Counts

N_BINS = 15
_N_POINTS = 600
_N_TABLED = 512
_N_HISTOGRAM = 40

_SERIES = ('mean_iou', 'agreement', 'flicker_compensated', 'confidence', 'novelty', 'total_ms')


@dataclass(frozen=True)
class BagMeasures:
    """Measures of a system on a bag.

    Attributes:
        bag: Name of the bag.
        start_ns: Time of the first frame of the bag.
        measures: Measures of all its frames.
    """

    bag: str
    start_ns: int
    measures: PartMeasures


def all_runs(parts: Sequence[BagMeasures]) -> dict[str, Counts]:
    """Counts of the runs of all bags, without runs that have no frame."""
    runs = {n: np.concatenate([p.measures.runs[n] for p in parts]) for n in parts[0].measures.runs}
    return {name: counts[runs['n_frames'] > 0] for name, counts in runs.items()}


def all_frames(parts: Sequence[BagMeasures]) -> dict[str, npt.NDArray[Any]]:
    """Values of the frames of all bags."""
    return {n: np.concatenate([p.measures.frames[n] for p in parts]) for n in parts[0].measures.frames}


def interval(found: Estimate) -> Interval:
    """An estimate in the form of the results; NaN becomes null."""
    return Interval(value=_finite(found.value), low=_finite(found.low), high=_finite(found.high))


def measured(runs: Counts, statistic: Callable[[Counts], Values]) -> Interval | None:
    """Interval of a statistic of summed counts; None if nothing was counted."""
    return interval(estimate(runs, statistic)) if runs.any() else None


def accuracy_of(runs: Mapping[str, Counts], classes: ClassSet) -> AccuracyEntry | None:
    """Accuracy against true labels; None without labelled frames."""
    labelled = runs['n_labelled'] > 0
    if not runs['confusion'].any():
        return None
    confusion, boundary = runs['confusion'][labelled], runs['boundary'][labelled]
    calibration = runs['calibration'][labelled]
    return AccuracyEntry(
        mean_iou=interval(estimate(confusion, batched.mean_iou)),
        boundary_iou=interval(estimate(boundary, batched.mean_boundary_iou)),
        pixel_accuracy=interval(estimate(confusion, batched.pixel_accuracy)),
        class_iou=class_intervals(confusion, classes),
        confusion_matrix=confusion.sum(axis=0).tolist(),
        ece=interval(estimate(calibration, batched.expected_calibration_error)),
        reliability=[
            ReliabilityBin(confidence=_finite(c), accuracy=_finite(a), fraction=f)
            for c, a, f in reliability(calibration.sum(axis=0), N_BINS)
        ],
    )


def agreement_of(runs: Mapping[str, Counts], classes: ClassSet, reference: str) -> AgreementEntry | None:
    """Agreement with the reference; None without one."""
    if not runs['agreement'].any():
        return None
    return AgreementEntry(
        reference=reference,
        pixels=interval(estimate(runs['agreement'], batched.pixel_accuracy)),
        class_iou=class_intervals(runs['agreement'], classes),
    )


def class_intervals(confusion: Counts, classes: ClassSet) -> dict[str, Interval | None]:
    """IoU of each class with its interval; None for a class that does not occur."""
    found: dict[str, Interval | None] = {}
    for k, name in enumerate(classes.names):
        value = interval(estimate(confusion, lambda counts, k=k: batched.class_iou(counts)[:, k]))  # type: ignore[misc]
        found[name] = None if value.value is None else value
    return found


def stability_of(runs: Mapping[str, Counts]) -> StabilityEntry:
    """Changes between consecutive frames."""
    names = ('flicker', 'flicker_compensated', 'code_flicker', 'track_flicker')
    return StabilityEntry(**{name: measured(runs[name], batched.fraction_of) for name in names})


def confidence_of(runs: Mapping[str, Counts]) -> ConfidenceEntry:
    """Confidence of all pixels."""
    total = runs['confidence'].sum(axis=0)
    return ConfidenceEntry(
        mean=interval(estimate(runs['confidence'], batched.mean_confidence)),
        histogram=(total / max(total.sum(), 1)).round(6).tolist(),
    )


def shares_of(runs: Mapping[str, Counts], classes: ClassSet) -> dict[str, float]:
    """Fraction of the pixels of each class, and of unlabelled ones."""
    total = runs['labels'].sum(axis=0)
    fractions = total / max(total.sum(), 1)
    return dict(zip([*classes.names, 'unlabelled'], fractions.tolist(), strict=True))


def novelty_of(frames: Mapping[str, npt.NDArray[Any]], threshold: float) -> NoveltyEntry:
    """Frames unlike those that the model knows."""
    scores = frames['novelty'][np.isfinite(frames['novelty'])]
    if not len(scores):
        return NoveltyEntry(mean=None, threshold=_finite(threshold), out_of_distribution=None)
    return NoveltyEntry(
        mean=float(scores.mean()),
        threshold=_finite(threshold),
        out_of_distribution=float((scores > threshold).mean()) if np.isfinite(threshold) else None,
    )


def latency_of(frames: Mapping[str, npt.NDArray[Any]]) -> dict[str, Percentiles | None]:
    """Distribution of the time for the labels of a frame, and of each stage; None for a stage not used."""
    columns = {'total': frames['total_ms']}
    columns |= {stage: frames['times_ms'][:, k] for k, stage in enumerate(STAGES)}
    found: dict[str, Percentiles | None] = {}
    for name, times in columns.items():
        values = percentiles(times) if times.any() else None
        found[name] = Percentiles(**values) if values else None
    return found


def histogram_of(times_ms: Values) -> Histogram:
    """Number of frames by time, in 40 steps of equal ratio."""
    times = times_ms[times_ms > 0]
    if not len(times):
        return Histogram(edges_ms=[], counts=[])
    low, high = float(times.min()), max(float(times.max()), 1.001 * float(times.min()))
    edges = np.geomspace(low * 0.999, high * 1.001, _N_HISTOGRAM + 1)
    return Histogram(edges_ms=edges.round(4).tolist(), counts=np.histogram(times, edges)[0].tolist())


def series_of(parts: Sequence[BagMeasures], classes: ClassSet) -> Series:
    """Values over time; each point is the mean of a stretch of neighbouring frames of one bag."""
    n_frames = sum(part.measures.n_frames for part in parts)
    bags, times = list[str](), list[float]()
    values: dict[str, list[float | None]] = {name: [] for name in _SERIES}
    names = [*classes.names, 'unlabelled']
    shares: dict[str, list[float]] = {name: [] for name in names}
    for part in parts:
        frames = part.measures.frames
        n_points = min(max(_N_POINTS * part.measures.n_frames // max(n_frames, 1), 1), part.measures.n_frames)
        for stretch in np.array_split(np.arange(part.measures.n_frames), n_points) if n_points else []:
            bags.append(part.bag)
            times.append(round(float(frames['time_ns'][stretch].mean() - part.start_ns) / 1e9, 3))
            for name in _SERIES:
                values[name].append(_mean(frames[name][stretch]))
            for name, share in zip(names, frames['shares'][stretch].mean(axis=0), strict=True):
                shares[name].append(round(float(share), 5))
    return Series(bag=bags, time_s=times, shares=shares, **values)


def run_table(parts: Sequence[BagMeasures]) -> RunTable:
    """Counts of at most 512 stretches of runs."""
    n_runs = sum(len(part.measures.runs['n_frames']) for part in parts)
    bags = list[str]()
    tables: dict[str, list[Counts]] = {'confusion': [], 'agreement': [], 'flicker_compensated': []}
    for part in parts:
        own = len(part.measures.runs['n_frames'])
        n_stretches = min(max(_N_TABLED * own // max(n_runs, 1), 1), own)
        for stretch in np.array_split(np.arange(own), n_stretches) if n_stretches else []:
            bags.append(part.bag)
            for name, table in tables.items():
                table.append(part.measures.runs[name][stretch].sum(axis=0))
    lists = {n: [c.tolist() for c in t] if any(c.any() for c in t) else [] for n, t in tables.items()}
    return RunTable(bags=bags, **lists)


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 6) if len(known) else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
