"""From an outcome to results: figures of every system, differences between them, and a verdict."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from seg_ros import __version__
from seg_ros._numba import n_cores
from seg_ros.bag_evaluation import summary
from seg_ros.bag_evaluation.parts import loaded
from seg_ros.bag_evaluation.results import (
    BagEntry,
    ClassEntry,
    ComparisonEntry,
    FailureEntry,
    LossEntry,
    Machine,
    ResourcesEntry,
    Results,
    SystemEntry,
)
from seg_ros.bag_evaluation.run import BagOutcome, Outcome, Request
from seg_ros.bag_evaluation.systems import System
from seg_ros.inference.backends.machine import describe_machine
from seg_ros.inference.segmenter import Segmenter
from seg_ros.metrics import batched
from seg_ros.metrics.bootstrap import Difference, paired_difference
from seg_ros.metrics.labels import Counts, Fractions
from seg_ros.metrics.novelty import novelty_score, novelty_threshold


@dataclass(frozen=True)
class Metric:
    """A figure by which systems are compared.

    Attributes:
        counts: Name of the counts of a run.
        statistic: Figure of summed counts, (B, ...) -> (B,).
        is_loss: Whether less is better.
    """

    counts: str
    statistic: Callable[[Counts], Fractions]
    is_loss: bool = False


_MANY_UNLIKE = 0.1
"""Least share of frames unlike the training images that the verdict names."""

METRICS = {
    'mean_iou': Metric('confusion', batched.mean_iou),
    'boundary_iou': Metric('boundary', batched.mean_boundary_iou),
    'agreement': Metric('agreement', batched.pixel_accuracy),
    'flicker_compensated': Metric('flicker_compensated', batched.fraction_of, is_loss=True),
}
"""Figures by which systems are compared, by name."""


def judge(request: Request, outcome: Outcome, command: Sequence[str]) -> Results:
    """Sum up an evaluation.

    Args:
        request: What was evaluated.
        outcome: Measures.
        command: Words of the command, for the record.
    """
    systems = [s for s in request.systems if any(s.key in bag.measures for bag in outcome.bags)]
    entries = [_system(system, request, outcome.bags) for system in systems]
    comparisons = _comparisons(systems, outcome.bags, request.reference)
    failures = [FailureEntry(system=f.system, bag=f.bag, reason=f.reason) for f in outcome.failures]
    bags = [_bag(bag, request) for bag in outcome.bags]
    return Results(
        seg_ros=str(__version__),
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        command=list(command),
        machine=_machine(),
        verdict=verdict(entries, comparisons, bags),
        bags=bags,
        classes=[ClassEntry(id=c.id, name=c.name, colour=list(c.colour)) for c in systems[0].classes.classes],
        systems=entries,
        comparisons=comparisons,
        failures=failures,
    ).in_valid_text()


def verdict(
    entries: Sequence[SystemEntry], comparisons: Sequence[ComparisonEntry], bags: Sequence[BagEntry]
) -> str:
    """The result of the first system in one sentence, and whether another one has better labels."""
    first, n_frames = entries[0], sum(bag.n_evaluated for bag in bags)
    parts = [f'{first.name}: {_quality(first, bags)}']
    if (first.novelty.out_of_distribution or 0) >= _MANY_UNLIKE:
        share = 100 * (first.novelty.out_of_distribution or 0)
        parts.append(f'{share:.0f} % of the frames are unlike the training images')
    if first.stability.flicker_compensated and first.stability.flicker_compensated.value is not None:
        parts.append(f'compensated flicker {100 * first.stability.flicker_compensated.value:.1f} %')
    if times := first.latency_ms['total']:
        parts.append(f'{times.p50:.0f} ms a frame (p99 {times.p99:.0f})')
    text = ', '.join(parts) + f', over {n_frames} frames of {_n(len(bags), "bag")}'
    best = max(entries, key=_merit)
    words = [
        c.verdict for c in comparisons if c.second == best.name and c.metric in ('mean_iou', 'agreement')
    ]
    return f'{text}; {words[0]}.' if words else f'{text}.'


def _merit(entry: SystemEntry) -> float:
    if entry.accuracy and entry.accuracy.mean_iou.value is not None:
        return entry.accuracy.mean_iou.value
    if entry.agreement and entry.agreement.pixels.value is not None:
        return entry.agreement.pixels.value
    return 0.0


def _quality(entry: SystemEntry, bags: Sequence[BagEntry]) -> str:
    if entry.accuracy and entry.accuracy.mean_iou.value is not None:
        iou = entry.accuracy.mean_iou
        return f'{100 * (iou.value or 0):.1f} % mean IoU{_range(iou.low, iou.high)}'
    if entry.agreement and entry.agreement.pixels.value is not None:
        if entry.agreement.reference == entry.name:
            return 'the reference'
        pixels = entry.agreement.pixels
        return f'{100 * (pixels.value or 0):.1f} % of the pixels as {entry.agreement.reference}'
    return f'accuracy unknown, since {_why_unknown(bags)}'


def _why_unknown(bags: Sequence[BagEntry]) -> str:
    """Reason why nothing was compared with labels."""
    if not any(bag.labels for bag in bags):
        return 'no labels were given'
    n_lost = sum(bag.n_labels_lost for bag in bags)
    if not n_lost:
        return 'no frame has labels'
    if any(bag.n_labelled for bag in bags):
        return f'all labels that can be used are void, and {n_lost} cannot be used'
    return f'none of the {_n(n_lost, "label image")} can be used'


def _range(low: float | None, high: float | None) -> str:
    return '' if low is None or high is None else f' ({100 * low:.1f} to {100 * high:.1f})'


def _n(count: int, noun: str) -> str:
    return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def _system(system: System, request: Request, bags: Sequence[BagOutcome]) -> SystemEntry:
    parts = [bag.of(system) for bag in bags if system.key in bag.measures]
    runs, frames = summary.all_runs(parts), summary.all_frames(parts)
    segmenter = loaded(system)
    facts = segmenter.as_json()
    wall, cpu = float(np.sum(frames['wall_ms'])), float(np.sum(frames['cpu_ms']))
    reference = request.reference.name if request.reference else ''
    times = frames['total_ms'].astype(np.float64)
    return SystemEntry(
        name=system.name,
        path=str(facts['path']),
        digest=system.digest,
        quantization=segmenter.quantization,
        backend=segmenter.backend_name,
        device=str(segmenter.device),
        n_parameters=segmenter.model.n_parameters,
        n_bytes=segmenter.model.n_bytes,
        input_size=list(segmenter.input_size),
        n_frames=int(runs['n_frames'].sum()),
        accuracy=summary.accuracy_of(runs, system.classes),
        agreement=summary.agreement_of(runs, system.classes, reference),
        stability=summary.stability_of(runs),
        confidence=summary.confidence_of(runs),
        class_shares=summary.shares_of(runs, system.classes),
        novelty=summary.novelty_of(frames, _novelty_threshold(segmenter, frames['novelty'])),
        latency_ms=summary.latency_of(frames),
        resources=ResourcesEntry(
            cpu_cores=round(cpu / wall, 2) if wall else None,
            peak_memory_mb=round(float(frames['memory_mb'].max()), 1),
        ),
        series=summary.series_of(parts, system.classes),
        latency_histogram=summary.histogram_of(times),
        runs=summary.run_table(parts),
    )


def _novelty_threshold(segmenter: Segmenter, scores: Fractions) -> float:
    """Threshold that fits a model, by its golden images and by the frames of the bags."""
    golden, k = list[float](), len(segmenter.classes)
    for image in segmenter.model.golden.images:
        prediction = segmenter(image, confidence=True, segments=False)
        counted = np.bincount(np.minimum(prediction.labels, k).ravel(), minlength=k + 1)
        confidence = np.zeros(256, np.int64) if prediction.confidence is None else prediction.confidence
        golden.append(novelty_score(counted, np.bincount(confidence.ravel(), minlength=256)))
    return novelty_threshold(golden, scores)


def _bag(bag: BagOutcome, request: Request) -> BagEntry:
    measures = next(iter(bag.measures.values()))
    frames, duration = bag.frames, bag.frames.duration_s
    labels = request.labels.topic or (str(request.labels.folder) if request.labels.folder else None)
    return BagEntry(
        name=bag.name,
        path=str(frames.path),
        topic=frames.topic,
        encoding=frames.encoding,
        size=list(frames.size),
        n_frames=frames.n_frames,
        n_evaluated=measures.n_frames,
        n_labelled=int(measures.runs['n_labelled'].sum()),
        n_labels_lost=bag.n_labels_lost,
        duration_s=duration,
        frame_rate_hz=round((frames.n_frames - 1) / duration, 3) if duration else None,
        labels=labels,
        losses=[LossEntry(reason=loss.reason, n_messages=loss.n_messages) for loss in bag.losses],
    )


def _comparisons(
    systems: Sequence[System], bags: Sequence[BagOutcome], reference: System | None
) -> list[ComparisonEntry]:
    """Differences of every system from the first, on the frames that both have.

    The reference agrees with itself, so its agreement is not compared.
    """
    found = []
    for second in systems[1:]:
        first = systems[0]
        shared = [bag for bag in bags if first.key in bag.measures and second.key in bag.measures]
        shared = [bag for bag in shared if _same_runs(bag, first, second)]
        if not shared:
            continue
        ours, theirs = (summary.all_runs([bag.of(s) for bag in shared]) for s in (first, second))
        entries = _differences(first, second, ours, theirs)
        has_reference = reference is not None and reference.key in (first.key, second.key)
        found += [entry for entry in entries if not (has_reference and entry.metric == 'agreement')]
    return found


def _same_runs(bag: BagOutcome, first: System, second: System) -> bool:
    one, other = (bag.measures[s.key].runs['n_frames'] for s in (first, second))
    return bool(np.array_equal(one, other))


def _differences(
    first: System, second: System, ours: Mapping[str, Counts], theirs: Mapping[str, Counts]
) -> list[ComparisonEntry]:
    found = []
    for name, metric in METRICS.items():
        one, other = ours[metric.counts], theirs[metric.counts]
        if one.any() and other.any():
            difference = paired_difference(one, other, metric.statistic)
            found.append(comparison(first.name, second.name, name, difference, metric))
    return found


def comparison(first: str, second: str, name: str, difference: Difference, metric: Metric) -> ComparisonEntry:
    """A difference between two systems, with its words."""
    return ComparisonEntry(
        first=first,
        second=second,
        metric=name,
        difference=summary.interval(difference),
        verdict=difference.verdict(first, second, name, is_loss=metric.is_loss),
    )


def _machine() -> Machine:
    return Machine(
        processor=describe_machine('cpu')['processor'],
        cores=n_cores(),
        os=platform.platform(),
        python=platform.python_version(),
    )
