"""The self-check: a loaded model must reproduce the golden record in its own file.

The check runs on the very backend that will run the model, so that a wrong normalisation, swapped channels
or a broken backend is found before the first frame.

The record was made at the level of the file. At a level that is derived from it, such as bf16 of a float32
file, values that are nearly tied change their label, without a fault. There, plain PyTorch at the level of
the file must reproduce the record on this computer, and the derived level must agree where the margin between
the two largest scores is not among the smallest fifth. Faults change labels of any margin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float32Array, UInt8Array, moved_to_memory
from seg_ros.errors import SelfCheckError
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.torch_eager import TorchBackend
from seg_ros.inference.embedding_filter import EmbeddingFilter, load_filter
from seg_ros.inference.options import FrameOptions
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings
from seg_ros.segments.hamming import unpack

Values = npt.NDArray[np.uint8] | npt.NDArray[np.bool_]
"""Labels, or bits."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg_ros.inference.segmenter import Segmenter

REQUIRED_AGREEMENT = 0.97
"""Fraction of golden pixels that must get their recorded label; a model below it is refused."""

REQUIRED_DERIVED = 0.9
"""The same at a derived level, which also needs REQUIRED_AGREEMENT of the pixels that are not nearly tied."""

NEARLY_TIED = 0.2
"""Fraction of golden pixels, those of the smallest margins, whose labels a derived level may change."""


class _Judged(NamedTuple):
    """Values that a segmenter gives for the golden images.

    Attributes:
        values: (N, ...) labels or bits.
        margins: Of the same shape, 0 or more: distance from another value.
    """

    values: Values
    margins: Float32Array


@dataclass(frozen=True)
class _Record:
    """One array of the golden record, and the way to compute it again.

    Attributes:
        recorded: (N, ...) labels or bits.
        compute: Values that a segmenter gives.
        judge: The same with their margins.
        words: Name of a value and of their unit, for messages.
    """

    recorded: Values
    compute: Callable[[Segmenter], Values]
    judge: Callable[[Segmenter], _Judged]
    words: tuple[str, str]


def check_golden(segmenter: Segmenter) -> float:
    """Compare a segmenter with its golden record; nothing is refused at an input size of the user's.

    Returns:
        The smallest of the fractions that agree: labels, labels with the embedding filter, bits of codes.

    Raises:
        SelfCheckError: A fraction is too small, or the record has another shape.
    """
    return min(_check(segmenter, record) for record in _records(segmenter))


def _records(segmenter: Segmenter) -> list[_Record]:
    """Arrays of the golden record that this segmenter can reproduce."""
    golden, has_own_size = segmenter.model.golden, _has_own_size(segmenter)
    records = [_labels_record(golden.labels, FrameOptions(filter=False), segmenter.embedding_filter)]
    if segmenter.embedding_filter is not None and golden.filtered is not None and has_own_size:
        own = load_filter(segmenter.model)  # at the settings of the file
        records.append(_labels_record(golden.filtered, FrameOptions(), own))
    if golden.codes is not None and segmenter.code_pooling is not None and has_own_size:
        codes = golden.codes
        bits = unpack(codes.reshape(-1, codes.shape[2])).reshape(*codes.shape[:2], -1)
        records.append(_Record(bits, lambda s: _code_bits(s).values, _code_bits, words=('value', 'bits')))
    return records


def _labels_record(
    recorded: UInt8Array, options: FrameOptions, embedding_filter: EmbeddingFilter | None
) -> _Record:
    def filtered(segmenter: Segmenter) -> Segmenter:
        return replace(segmenter, embedding_filter=embedding_filter)

    return _Record(
        recorded,
        lambda s: _labels(filtered(s), options),
        lambda s: _judged_labels(filtered(s), options),
        words=('label', 'pixels'),
    )


def _check(segmenter: Segmenter, record: _Record) -> float:
    """Fraction of a record that agrees.

    Raises:
        SelfCheckError: The fraction is too small, or the record has another shape.
    """
    values = record.compute(segmenter)
    if values.shape != record.recorded.shape:
        raise SelfCheckError(
            f'model {segmenter.model.path} records golden {record.words[1]} of shape '
            f'{record.recorded.shape}; expected {values.shape}: fetch the file again'
        )
    agreement = float((values == record.recorded).mean())
    if agreement >= REQUIRED_AGREEMENT or not _has_own_size(segmenter):
        return agreement
    if segmenter.quantization == segmenter.model.metadata.quantization or agreement < REQUIRED_DERIVED:
        raise _refusal(segmenter, record, agreement, 'The file is damaged or the backend is broken')
    _check_derived(segmenter, record, values)
    return agreement


def _check_derived(segmenter: Segmenter, record: _Record, values: Values) -> None:
    """Judge a derived level by the level of the file, computed by plain PyTorch on this computer."""
    reference = _reference(segmenter)
    judged = record.judge(reference)
    agreement = float((judged.values == record.recorded).mean())
    if agreement < REQUIRED_AGREEMENT:
        raise _refusal(reference, record, agreement, 'The file is damaged')
    is_clear = judged.margins >= np.quantile(judged.margins, NEARLY_TIED)
    agreement = float((values == record.recorded)[is_clear].mean())
    if agreement < REQUIRED_AGREEMENT:
        reason = f'Nearly tied ones do not count at {segmenter.quantization}. The backend is broken'
        raise _refusal(segmenter, record, agreement, reason)


def _reference(segmenter: Segmenter) -> Segmenter:
    """The same segmenter at the level of its file, by plain PyTorch on the CPU."""
    model, level = segmenter.model, segmenter.model.metadata.quantization
    height, width = model.input_size
    loaded = ModelSource(Settings(model=str(model.path), input_height=height, input_width=width))
    network = NetworkSource.of_model(loaded, level, with_embeddings=segmenter.embedding_filter is not None)
    backend = TorchBackend(network, model.input_size, 'cpu', 0)
    return replace(segmenter, backend=backend, backend_name='torch', quantization=level, device='cpu')


def _labels(segmenter: Segmenter, options: FrameOptions) -> UInt8Array:
    """(N, H, W) uint8 labels of the golden images."""
    return np.stack([segmenter(image, options).labels for image in segmenter.model.golden.images])


def _judged_labels(segmenter: Segmenter, options: FrameOptions) -> _Judged:
    """Labels of the golden images, and the margins between their two largest scores."""
    images, margins = segmenter.model.golden.images, []
    for image in images:
        scores = segmenter.score(segmenter.resize(image), options).scores
        if scores is None or len(scores) < 2:
            margins.append(np.ones(image.shape[:2], np.float32))
            continue
        planes = np.ascontiguousarray(moved_to_memory(scores))
        resized = np.stack([cv2.resize(plane, image.shape[1::-1]) for plane in planes])
        second, first = np.partition(resized, -2, axis=0)[-2:]
        margins.append(first - second)
    return _Judged(_labels(segmenter, options), np.stack(margins))


def _code_bits(segmenter: Segmenter) -> _Judged:
    """Bits of the golden codes, (N, S, n_bits), and the magnitudes of their logits."""
    pooling = segmenter.code_pooling
    if pooling is None:
        raise SelfCheckError(f'model {segmenter.model.path} has golden codes and no binary layer')
    means = []
    for image in segmenter.model.golden.images:
        resized = segmenter.resize(image)
        logits = segmenter.backend(resized[None])['codes'][0]
        means.append(pooling.golden_means(logits, resized))
    stacked = np.stack(means)
    return _Judged(stacked > 0, np.abs(stacked))


def _has_own_size(segmenter: Segmenter) -> bool:
    return segmenter.input_size == segmenter.model.metadata.input_size


def _refusal(segmenter: Segmenter, record: _Record, agreement: float, reason: str) -> SelfCheckError:
    value, unit = record.words
    return SelfCheckError(
        f'model {segmenter.model.path} gives the recorded {value} for {agreement:.1%} of its golden '
        f'{unit} on backend {segmenter.backend_name}, {segmenter.quantization}, {segmenter.device}; '
        f'expected {REQUIRED_AGREEMENT:.0%} or more. {reason}: '
        'try another backend, or fetch the file again'
    )
