"""What models give and cost, side by side: measured on the same images, timed in the same run."""

import heapq
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from seg_ros.evaluation.timing import N_ROUNDS, Turns, time_in_turns
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
from seg_ros.networks.graph.cost import LEVELS, Cost, LevelCost, network_cost
from seg_ros.quantization.levels import QUANTIZATIONS

log = logging.getLogger(__name__)


class EvenSample:
    """Images of a data set, spread evenly over it.

    Args:
        dataset: to choose from.
        n_images: how many, 1 or more; all if it has fewer.

    Raises:
        ParameterError: ``n_images`` is less than 1.
    """

    def __init__(self, dataset: Dataset, n_images: int) -> None:
        if n_images < 1:
            raise ParameterError(f'{n_images} images of a data set; expected 1 or more')
        n_images = min(n_images, len(dataset))
        self._dataset = dataset
        self._indices = [k * len(dataset) // n_images for k in range(n_images)]
        self.classes = dataset.classes
        self.names = [dataset.names[index] for index in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self._dataset[self._indices[index]]


@dataclass(frozen=True, order=True)
class Loss:
    """An image that a model does worse than the first one.

    Attributes:
        lost: mean IoU of the image, of the first model less this one's, 0..1.
        index: in the data set.
        first: (H, W) uint8 labels of the first model.
        labels: those of this one.
    """

    lost: float
    index: int
    first: UInt8Array = field(compare=False)
    labels: UInt8Array = field(compare=False)


@dataclass(frozen=True)
class Row:
    """What was measured of a model at a level.

    Attributes:
        name: of the model.
        facts: what ran, as ``Segmenter.as_json`` tells it.
        input_size: (height, width) of the network's input in pixels.
        is_filtered: whether scores were sharpened by embeddings.
        is_merged: whether labels were refined by segments.
        accuracy: on the images.
        boundary: (K, 2), see seg_ros.metrics.labels.boundary_counts.
        agreement: share of pixels with the label of the first model, 0..1.
        cost: of one image, counted and estimated.
        worst: images that it does worst compared with the first model, the worst first.
        turns: of the timing; None where that failed.
        speedup: frames for one of the first model; None where either was not timed.
    """

    name: str
    facts: dict[str, Any]
    input_size: tuple[int, int]
    is_filtered: bool
    is_merged: bool
    accuracy: Accuracy
    boundary: Counts
    agreement: float
    cost: Cost
    worst: list[Loss]
    turns: Turns | None = None
    speedup: float | None = None

    @property
    def quantization(self) -> str:
        """The level."""
        return str(self.facts['quantization'])

    @property
    def n_bytes(self) -> int:
        """Size of the file, which is that of the level that it holds."""
        return int(self.facts['n_bytes'])

    @property
    def mean_iou(self) -> float:
        """Over all pixels of all images, 0..1."""
        return mean_iou(self.accuracy.matrix)

    @property
    def boundary_iou(self) -> float:
        """Mean over the classes, 0..1."""
        return mean_boundary_iou(self.boundary)

    @property
    def latency_ms(self) -> float | None:
        """Median of all that decides about labels, see Turns."""
        return None if self.turns is None else float(np.median(self.turns.latency_ms))

    def as_json(self) -> dict[str, Any]:
        """Under the keys that all reports share; fractions 0..1, null where nothing was measured."""
        of_classes = (None if np.isnan(v) else float(v) for v in boundary_iou(self.boundary))
        return {
            'name': self.name,
            **self.facts,
            'input_size': list(self.input_size),
            **self.accuracy.as_json(),
            'boundary_iou': self.boundary_iou,
            'class_boundary_iou': dict(zip(self.accuracy.classes.names, of_classes, strict=True)),
            'agreement': self.agreement,
            'n_macs': self.cost.n_macs,
            'energy_uj': self.cost.energy_uj,
            'peak_activation_bytes': self.cost.peak_activation_bytes,
            'latency_ms': None if self.turns is None else percentiles(self.turns.latency_ms.ravel()),
            'speedup': self.speedup,
            'peak_memory_mb': None if self.turns is None else self.turns.peak_memory_bytes / 1e6,
            'embedding_filter': self.is_filtered,
            'merge': self.is_merged,
        }


@dataclass(frozen=True)
class Comparison:
    """Models side by side.

    Attributes:
        dataset: the images.
        rows: the first model's first.
        failed: what could not be measured.
    """

    dataset: Dataset
    rows: list[Row]
    failed: list[Failure]

    def as_json(self) -> dict[str, Any]:
        """``models``, and ``failed`` with ``path``, ``quantization`` and ``reason`` each."""
        return {
            'n_images': len(self.dataset),
            'models': [row.as_json() for row in self.rows],
            'failed': [vars(failure) for failure in self.failed],
        }


def compare(
    models: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    *,
    levels: Sequence[str] = (),
    variants: Sequence[str] = (),
    n_rounds: int = N_ROUNDS,
    n_worst: int = 3,
) -> Comparison:
    """Measure models on the same images, then time all of them in turns.

    A model that cannot be loaded or run is told, and the others are measured.

    Args:
        models: paths, or names of shipped models; the first is what the others are compared with.
        dataset: images and true labels.
        settings: of all of them; its quantization is the level that each is measured at.
        levels: further ones, of which each model gets those that can be derived from its file.
        variants: names in VARIANTS, of which each model gets those that it has what is needed for.
        n_rounds: turns that each is timed in, 1 or more.
        n_worst: images to keep of each.

    Raises:
        DatasetError: a model has other classes than the data set.
        SegRosError: the first model cannot be loaded or run.
        UnknownNameError: there is no such level.
    """
    if not models or n_rounds < 1:
        raise ParameterError(f'{len(models)} models, {n_rounds} rounds; expected one of each, or more')
    candidates, failed = find_candidates(models, dataset, settings, levels, variants)
    rows: list[Row] = []
    done: list[Candidate] = []
    watch: _Watch | None = None
    for candidate in candidates:
        log.info('%s at %s', candidate.name, candidate.settings.quantization)
        beside = _Watch(dataset, watch, n_worst)
        try:
            rows.append(_measure(candidate, dataset, beside))
            done.append(candidate)
        except Exception as err:  # a long run is not lost for one model
            if watch is None:
                raise
            failed.append(failure(candidate.settings, err))
        watch = watch or beside
    measured = [
        replace(candidate.settings, backend=str(row.facts['backend']))
        for row, candidate in zip(rows, done, strict=True)
    ]
    turns = time_in_turns(measured, n_rounds=n_rounds)
    failed += [failure(s, t) for s, t in zip(measured, turns, strict=True) if isinstance(t, SegRosError)]
    return Comparison(dataset, [_timed(row, t, turns[0]) for row, t in zip(rows, turns, strict=True)], failed)


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Numbers of those of which no other costs no more and gives no less, and one of the two is better.

    Args:
        costs: of each, less is better.
        gains: of each, more is better.

    Returns:
        In the order of rising costs.
    """
    front: list[int] = []
    for k in sorted(range(len(costs)), key=lambda k: (costs[k], -gains[k])):
        last = front[-1] if front else None
        if last is None or gains[k] > gains[last] or (costs[k], gains[k]) == (costs[last], gains[last]):
            front.append(k)
    return front


def cost_level(quantization: str) -> LevelCost:
    """What a level of precision costs; shared weights are computed with in fp32."""
    if quantization in LEVELS:
        return LEVELS[quantization]
    return replace(LEVELS['fp32'], weight_bits=look_up(QUANTIZATIONS, quantization, 'level').n_bits)


class _Watch:
    """Counts, image by image, what one confusion matrix does not tell.

    Args:
        dataset: that is being shown.
        first: what the first model was shown; None for that itself.
        n_worst: images to keep.
    """

    def __init__(self, dataset: Dataset, first: '_Watch | None', n_worst: int) -> None:
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
            self._labels.append(cv2.imencode('.png', labels)[1].astype(np.uint8))  # a tenth of the memory
        else:
            first = self._first.labels(index)
            lost = self._first._image_iou[index] - self._image_iou[index]
            if lost > 0:
                self._keep(Loss(lost, index, first, labels))
        self._n_same += int(np.count_nonzero(first == labels))
        self._n_pixels += labels.size

    @property
    def agreement(self) -> float:
        """Share of the pixels so far with the first model's label."""
        return self._n_same / max(self._n_pixels, 1)

    @property
    def worst(self) -> list[Loss]:
        """The worst first."""
        return sorted(self._worst, reverse=True)

    def labels(self, index: int) -> UInt8Array:
        """(H, W) uint8 labels of an image, of the first model."""
        return np.asarray(cv2.imdecode(self._labels[index], cv2.IMREAD_UNCHANGED), np.uint8)

    def _keep(self, loss: Loss) -> None:
        heapq.heappush(self._worst, loss)
        if len(self._worst) > self._n_worst:
            heapq.heappop(self._worst)


def _measure(candidate: Candidate, dataset: Dataset, watch: _Watch) -> Row:
    segmenter = Segmenter.load(candidate.settings)
    accuracy = measure_accuracy(segmenter, dataset, watch)
    example = torch.zeros(1, 3, *segmenter.input_size)
    return Row(
        candidate.name,
        segmenter.as_json(),
        segmenter.input_size,
        segmenter.embedding_filter is not None,
        segmenter.options.refinement > 0,
        accuracy,
        watch.boundary,
        watch.agreement,
        network_cost(segmenter.model.network, example, cost_level(segmenter.quantization)),
        watch.worst,
    )


def _timed(row: Row, turns: Turns | SegRosError, first: Turns | SegRosError) -> Row:
    if isinstance(turns, SegRosError):
        return row
    speedup = None if isinstance(first, SegRosError) else turns.times_faster_than(first)
    return replace(row, turns=turns, speedup=speedup)
