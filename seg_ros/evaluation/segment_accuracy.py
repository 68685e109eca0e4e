"""Accuracy of segmentation methods on images that people divided into segments."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seg_ros import schema
from seg_ros.arrays import Int32Array, UInt8Array
from seg_ros.datasets.segmented import ImagesOnly, KindsOfSegments, SegmentedImages
from seg_ros.datasets.walk import walk
from seg_ros.errors import ParameterError, UnavailableError
from seg_ros.evaluation.published_codes import PublishedCodes
from seg_ros.evaluation.segment_baselines import GRIDS, Cutter, cut
from seg_ros.inference.backends.backend import choose_device
from seg_ros.metrics.segments import SegmentScores
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.levels import choose_quantization
from seg_ros.modelfile.precision import frame_network
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.resources import resource

MEASURES = ('per_segment', 'covering')
"""Measures of accuracy; properties of :class:`seg_ros.metrics.segments.SegmentScores`."""

Tuned = dict[str, dict[str, dict[str, int | float]]]
"""Method -> measure -> settings."""

_SWEEP_METHODS = ('slic', 'kmeans', 'codes', 'features')
_SWEEP_SIZES = (8, 10, 14, 20, 28, 40)


@dataclass(frozen=True)
class Sweep:
    """Accuracy for several sizes of superpixels.

    Attributes:
        n_superpixels: Mean number of superpixels for each size.
        values: Method -> measure -> value for each size, 0..1.
    """

    n_superpixels: list[float]
    values: dict[str, dict[str, list[float]]]


def load_code_network(model: Model, device: str, quantization: str) -> FrameNetwork:
    """Network of a model with codes, for images of any size.

    Args:
        model: Loaded model file.
        device: 'auto', 'cpu' or 'cuda:N'.
        quantization: Level of quantization, or 'auto'.

    Raises:
        UnavailableError: The model has no codes, or not this level.
    """
    if model.codes is None:
        raise UnavailableError(f'model {model.path} has no codes; add them with seg_ros fit-codes')
    level = choose_quantization(model, quantization)
    return frame_network(model, level).to(choose_device(device))


def read_settings(path: Path | None, dataset: str) -> Tuned:
    """Read the settings of all methods.

    Args:
        path: JSON file; None = the file that is shipped for the data set.
        dataset: Name of the data set.

    Raises:
        ParameterError: The file cannot be read, or it does not hold settings.
    """
    try:
        path = path or resource(f'config/segments/{dataset}.json')
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError, UnavailableError) as err:
        raise ParameterError(
            f'no settings for {dataset}: {err}; choose some with --tune train --settings FILE'
        ) from err
    return schema.build(Tuned, content, str(path), ParameterError)


def fit_published(images: SegmentedImages, frames: FrameNetwork, limit: int | None = None) -> PublishedCodes:
    """Fit the codes of the method ``published`` to images, without their annotations.

    Args:
        images: Images to fit on.
        frames: Network of a model with codes.
        limit: Maximum number of images, spread evenly; None = all.
    """
    chosen = walk(ImagesOnly(images), 'fitting 8 bits', indices=choose_evenly(images, limit))
    return PublishedCodes.fit(frames, [image for _, image in chosen])


def tune(
    images: SegmentedImages,
    frames: FrameNetwork,
    methods: Sequence[str],
    limit: int | None = None,
    published: PublishedCodes | None = None,
) -> Tuned:
    """Choose the best settings of GRIDS for each method and measure.

    Args:
        images: Images to choose on; measure on others.
        frames: Network of a model with codes.
        methods: Names in METHODS.
        limit: Maximum number of images, spread evenly; None = all.
        published: Codes of the method ``published``, which needs them.
    """
    scores: dict[tuple[str, int], SegmentScores] = {}
    for _, (image, annotations) in _read(images, limit, 'tuning'):
        cutter = Cutter(image, frames, published)
        for method in methods:
            for position, settings in enumerate(GRIDS.get(method, ())):
                found = cut(cutter, method, settings)
                scores.setdefault((method, position), SegmentScores()).add(found, annotations)
    tuned: Tuned = {}
    for method in methods:
        own = {position: score for (name, position), score in scores.items() if name == method}
        tuned[method] = {
            measure: GRIDS[method][max(own, key=lambda k: float(getattr(own[k], measure)))]
            for measure in MEASURES
            if own
        }
    if 'kmeans' in methods and 'codes' in methods:
        tuned['kmeans'] = tuned['codes']
    return tuned


def measure_methods(
    images: SegmentedImages,
    frames: FrameNetwork,
    tuned: Tuned,
    methods: Sequence[str],
    limit: int | None = None,
    published: PublishedCodes | None = None,
) -> dict[str, Any]:
    """Measure each method, with the settings that were tuned for each measure.

    Args:
        images: Images with annotations.
        frames: Network of a model with codes.
        tuned: Settings.
        methods: Names in METHODS.
        limit: Maximum number of images, spread evenly; None = all.
        published: Codes of the method ``published``, which needs them.

    Returns:
        Method -> measure -> ``value``, 0..1, and ``settings``. ``per_segment`` has ``things`` and ``stuff``
        too if the data set knows which segments are which.

    Raises:
        ParameterError: A method has no settings.
    """
    unknown = [method for method in methods if not tuned.get(method, {}).keys() >= set(MEASURES)]
    if unknown:
        raise ParameterError(f'no settings for {", ".join(unknown)}; choose some with --tune')
    scores = {(method, measure): SegmentScores() for method in methods for measure in MEASURES}
    for index, (image, annotations) in _read(images, limit, 'segments'):
        cutter = Cutter(image, frames, published)
        kinds = images.kinds(index) if isinstance(images, KindsOfSegments) else ()
        for method, measure in scores:
            scores[method, measure].add(cut(cutter, method, tuned[method][measure]), annotations, kinds)
    return {
        method: {
            measure: {
                'value': float(getattr(scores[method, measure], measure)),
                'settings': tuned[method][measure],
                **(scores[method, measure].per_segment_of if measure == 'per_segment' else {}),
            }
            for measure in MEASURES
        }
        for method in methods
    }


@torch.no_grad()
def sweep_sizes(
    images: SegmentedImages, frames: FrameNetwork, tuned: Tuned, limit: int | None = None
) -> Sweep:
    """Measure the methods that join superpixels, and superpixels alone, for several sizes of superpixels.

    Args:
        images: Images with annotations.
        frames: Network of a model with codes.
        tuned: Settings of slic, kmeans, codes and features; the size of the superpixels is replaced.
        limit: Maximum number of images, spread evenly; None = all.
    """
    counts = dict.fromkeys(_SWEEP_SIZES, 0)
    scores: dict[tuple[str, str, int], SegmentScores] = {}
    for _, (image, annotations) in _read(images, limit, 'sweep'):
        cutter = Cutter(image, frames)
        for size in _SWEEP_SIZES:
            counts[size] += int(cutter.slic({'region_size': size}).max()) + 1
            for method in _SWEEP_METHODS:
                for measure in MEASURES:
                    found = cut(cutter, method, {**tuned[method][measure], 'region_size': size})
                    scores.setdefault((method, measure, size), SegmentScores()).add(found, annotations)
    values = {
        method: {
            measure: [float(getattr(scores[method, measure, size], measure)) for size in _SWEEP_SIZES]
            for measure in MEASURES
        }
        for method in _SWEEP_METHODS
    }
    return Sweep([counts[size] / n_chosen(images, limit) for size in _SWEEP_SIZES], values)


def n_chosen(images: SegmentedImages, limit: int | None) -> int:
    """Number of images that are used with a limit."""
    return len(choose_evenly(images, limit))


def _read(
    images: SegmentedImages, limit: int | None, label: str
) -> Iterator[tuple[int, tuple[UInt8Array, list[Int32Array]]]]:
    """Read the chosen images and annotations with a progress bar; bad files are logged and left out."""
    yield from walk(images, label, indices=choose_evenly(images, limit))


def choose_evenly(images: SegmentedImages, limit: int | None) -> list[int]:
    """Positions of at most ``limit`` images, spread evenly."""
    n = len(images)
    return list(range(n)) if not limit or limit >= n else [k * n // limit for k in range(limit)]
