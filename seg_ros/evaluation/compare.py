"""Comparison of models: accuracy on the same images, timing in the same run, and cost."""

import heapq
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import torch

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.errors import ParameterError, SegRosError, look_up
from seg_ros.evaluation.accuracy import Accuracy, measure_accuracy
from seg_ros.evaluation.candidates import Candidate, Failure, failure, find_candidates
from seg_ros.evaluation.figures import percentiles
from seg_ros.evaluation.learnt import MeasuredSplit
from seg_ros.evaluation.timing import N_ROUNDS, Timing, time_in_turns
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.metrics.labels import (
    Counts,
    boundary_counts,
    boundary_iou,
    confusion_matrix,
    mean_boundary_iou,
    mean_iou,
)
from seg_ros.modelfile.file import load_model
from seg_ros.networks.graph.cost import LEVELS, Cost, LevelCost, network_cost
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)


@dataclass(frozen=True, order=True)
class Loss:
    """An image on which a model is less accurate than the first model.

    Attributes:
        lost: Loss of mean IoU on this image, 0..1.
        index: Position of the image in the data set.
        first: (H, W) uint8 labels of the first model.
        labels: (H, W) uint8 labels of this model.
    """

    lost: float
    index: int
    first: UInt8Array = field(compare=False)
    labels: UInt8Array = field(compare=False)


@dataclass(frozen=True)
class Row:
    """Figures of a model at a level of quantization.

    Attributes:
        name: Name of the model.
        facts: Facts about the model, from ``Segmenter.as_json``.
        input_size: (height, width) of the input of the network in pixels.
        is_filtered: Whether the embedding filter was used.
        is_merged: Whether segments refined the labels.
        accuracy: Accuracy on the images.
        boundary: (K, 2) int64, see seg_ros.metrics.labels.boundary_counts.
        agreement: Fraction of pixels with the label of the first model, 0..1.
        cost: Counted and estimated cost of one image; None for an imported ONNX graph.
        worst: Images with the largest losses against the first model, the largest first.
        timing: Latency and memory; None if timing failed.
        speedup: Speed relative to the first model; None if one of the two was not timed.
        learnt: What to say if the model has learnt these images, see MeasuredSplit.learnt_by; '' = nothing.
    """

    name: str
    facts: dict[str, Any]
    input_size: tuple[int, int]
    is_filtered: bool
    is_merged: bool
    accuracy: Accuracy
    boundary: Counts
    agreement: float
    cost: Cost | None
    worst: list[Loss]
    timing: Timing | None = None
    speedup: float | None = None
    learnt: str = ''

    @property
    def quantization(self) -> str:
        """Level of quantization."""
        return str(self.facts['quantization'])

    @property
    def n_bytes(self) -> int:
        """Size of the file, whatever the level at which the model ran."""
        return int(self.facts['n_bytes'])

    @property
    def mean_iou(self) -> float:
        """Mean IoU over all pixels of all images, 0..1."""
        return mean_iou(self.accuracy.matrix)

    @property
    def boundary_iou(self) -> float:
        """Boundary IoU, mean over the classes, 0..1."""
        return mean_boundary_iou(self.boundary)

    @property
    def latency_ms(self) -> float | None:
        """Median latency, see Timing."""
        return None if self.timing is None else float(np.median(self.timing.latency_ms))

    def as_json(self) -> dict[str, Any]:
        """Figures under the keys that all reports share; fractions 0..1, null = not measured."""
        of_classes = (None if np.isnan(v) else float(v) for v in boundary_iou(self.boundary))
        return {
            'name': self.name,
            **self.facts,
            'input_size': list(self.input_size),
            **self.accuracy.as_json(),
            'boundary_iou': self.boundary_iou,
            'class_boundary_iou': dict(zip(self.accuracy.classes.names, of_classes, strict=True)),
            'agreement': self.agreement,
            'n_macs': self.cost and self.cost.n_macs,
            'energy_uj': self.cost and self.cost.energy_uj,
            'peak_activation_bytes': self.cost and self.cost.peak_activation_bytes,
            'latency_ms': None if self.timing is None else percentiles(self.timing.latency_ms.ravel()),
            'speedup': self.speedup,
            'peak_memory_mb': None if self.timing is None else self.timing.peak_memory_bytes / 1e6,
            'embedding_filter': self.is_filtered,
            'merge': self.is_merged,
            'learnt': self.learnt or None,
        }


@dataclass(frozen=True)
class Comparison:
    """Figures of several models.

    Attributes:
        dataset: Images that were used.
        rows: Figures of each model; the first model comes first.
        failed: Models that could not be measured.
    """

    dataset: Dataset
    rows: list[Row]
    failed: list[Failure]

    def as_json(self) -> dict[str, Any]:
        """``models``, and ``failed`` with ``path``, ``quantization`` and ``reason`` each."""
        return {
            'n_images': len(self.dataset),
            'models': [row.as_json() for row in self.rows],
            'failed': [asdict(failure) for failure in self.failed],
        }


def compare(
    models: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    *,
    split: MeasuredSplit | None = None,
    levels: Sequence[str] = (),
    variants: Sequence[str] = (),
    n_rounds: int = N_ROUNDS,
    n_worst: int = 3,
) -> Comparison:
    """Measure models on the same images, then time all of them in turn.

    A model that cannot be loaded or run is reported, and the others are measured.

    Args:
        models: Paths, or names of shipped models; the first model is the reference for the others.
        dataset: Images and true labels.
        settings: Settings of all models; ``quantization`` is the level of each model.
        split: Name of these images, to say which models have learnt them; None = unknown.
        levels: Further levels; each is used for the models whose files allow it.
        variants: Names in VARIANTS; each is used for the models that support it.
        n_rounds: Number of rounds of timing, 1 or more.
        n_worst: Number of images with the largest losses to keep for each model.

    Raises:
        DatasetError: A model has other classes than the data set.
        ParameterError: There is no model, or ``n_rounds`` is less than 1.
        SegRosError: The first model cannot be loaded or run.
        UnavailableError: No model supports any of the variants.
        UnknownNameError: A level or variant is unknown.
    """
    if not models or n_rounds < 1:
        raise ParameterError(f'{len(models)} models, {n_rounds} rounds; expected 1 or more of each')
    candidates, failed = find_candidates(models, dataset, settings, levels, variants)
    rows: list[Row] = []
    measured: list[Settings] = []
    first: _ImageFigures | None = None
    for candidate in candidates:
        log.info('%s at %s', candidate.name, candidate.settings.quantization)
        image_figures = _ImageFigures(dataset, first, n_worst)
        try:
            rows.append(_measure(candidate, dataset, image_figures, split))
            measured.append(replace(candidate.settings, backend=str(rows[-1].facts['backend'])))
        except Exception as err:  # one bad model must not stop a long run
            if first is None:
                raise
            failed.append(failure(candidate.settings, err))
        first = first or image_figures
    timings = time_in_turns(measured, n_rounds=n_rounds)
    failed += [failure(s, t) for s, t in zip(measured, timings, strict=True) if isinstance(t, SegRosError)]
    timed = [_timed(row, timing, timings[0]) for row, timing in zip(rows, timings, strict=True)]
    return Comparison(dataset, timed, failed)


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Find the Pareto front.

    An item is on it unless another item is better in cost or gain, and not worse in the other.

    Args:
        costs: Cost of each item; less is better.
        gains: Gain of each item; more is better.

    Returns:
        Positions of the items of the front, sorted by cost.
    """
    front: list[int] = []
    for k in sorted(range(len(costs)), key=lambda k: (costs[k], -gains[k])):
        last = front[-1] if front else None
        if last is None or gains[k] > gains[last] or (costs[k], gains[k]) == (costs[last], gains[last]):
            front.append(k)
    return front


def cost_level(quantization: str) -> LevelCost:
    """Cost of a level of quantization; shared weights are decoded to fp32 for the computation."""
    if quantization in LEVELS:
        return LEVELS[quantization]
    return replace(LEVELS['fp32'], weight_bits=look_up(QUANTIZATIONS, quantization, 'level').n_bits)


class _ImageFigures:
    """Figures of single images: boundaries, agreement with the first model, and the largest losses.

    Args:
        dataset: Data set that the model is measured on.
        first: Figures of the first model; None for the first model itself.
        n_worst: Number of images with the largest losses to keep.

    Attributes:
        boundary: (K, 2) int64, see seg_ros.metrics.labels.boundary_counts.
    """

    def __init__(self, dataset: Dataset, first: '_ImageFigures | None', n_worst: int) -> None:
        self._first, self._n_worst, self._n_classes = first, n_worst, len(dataset.classes)
        self._labels: list[UInt8Array] = []
        self._image_iou: list[float] = []
        self._n_same = self._n_pixels = 0
        self._worst: list[Loss] = []
        self.boundary: Counts = np.zeros((self._n_classes, 2), np.int64)

    def __call__(self, index: int, truth: UInt8Array, labels: UInt8Array) -> None:
        self.boundary += boundary_counts(truth, labels, self._n_classes)
        self._image_iou.append(mean_iou(confusion_matrix(truth, labels, self._n_classes)))
        first = labels
        if self._first is None:
            self._labels.append(
                cv2.imencode('.png', labels)[1].astype(np.uint8)
            )  # a PNG file takes a tenth of the memory
        else:
            first = self._first.labels(index)
            lost = self._first._image_iou[index] - self._image_iou[index]
            if lost > 0:
                self._keep(Loss(lost, index, first, labels))
        self._n_same += int(np.count_nonzero(first == labels))
        self._n_pixels += labels.size

    @property
    def agreement(self) -> float:
        """Fraction of pixels with the label of the first model, 0..1."""
        return self._n_same / max(self._n_pixels, 1)

    @property
    def worst(self) -> list[Loss]:
        """Images with the largest losses, the largest first."""
        return sorted(self._worst, reverse=True)

    def labels(self, index: int) -> UInt8Array:
        """Labels of an image, (H, W) uint8."""
        return np.asarray(cv2.imdecode(self._labels[index], cv2.IMREAD_UNCHANGED), np.uint8)

    def _keep(self, loss: Loss) -> None:
        heapq.heappush(self._worst, loss)
        if len(self._worst) > self._n_worst:
            heapq.heappop(self._worst)


def _measure(
    candidate: Candidate, dataset: Dataset, image_figures: _ImageFigures, split: MeasuredSplit | None
) -> Row:
    """Measure everything but time."""
    segmenter = Segmenter.load(candidate.settings)
    accuracy = measure_accuracy(segmenter, dataset, image_figures)
    example = torch.zeros(1, 3, *segmenter.input_size)
    return Row(
        candidate.name,
        segmenter.as_json(),
        segmenter.input_size,
        segmenter.embedding_filter is not None,
        segmenter.options.refinement > 0,
        accuracy,
        image_figures.boundary,
        image_figures.agreement,
        None
        if segmenter.model.metadata.is_graph
        else network_cost(
            load_model(segmenter.model.path).network, example, cost_level(segmenter.quantization)
        ),
        image_figures.worst,
        learnt='' if split is None else split.learnt_by(segmenter.model.metadata),
    )


def _timed(row: Row, timing: Timing | SegRosError, first: Timing | SegRosError) -> Row:
    """Add the timing, if there is one."""
    if isinstance(timing, SegRosError):
        return row
    speedup = None if isinstance(first, SegRosError) else timing.times_faster_than(first)
    return replace(row, timing=timing, speedup=speedup)
