"""The self-check: a loaded model must reproduce the golden record in its own file.

The check runs on the very backend that will run the model, so that a wrong normalisation, swapped channels
or a broken backend is found before the first frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg_ros.errors import SelfCheckError
from seg_ros.inference.embedding_filter import load_filter
from seg_ros.inference.options import FrameOptions
from seg_ros.segments.hamming import unpack

if TYPE_CHECKING:
    from seg_ros.arrays import UInt8Array
    from seg_ros.inference.segmenter import Segmenter

REQUIRED_AGREEMENT = 0.97
"""Fraction of golden pixels that must get their recorded label; a model below it is refused."""


def check_golden(segmenter: Segmenter) -> float:
    """Compare a segmenter with its golden record; nothing is refused at an input size of the user's.

    Returns:
        The smallest of the fractions that agree: labels, labels with the embedding filter, bits of codes.

    Raises:
        SelfCheckError: A fraction is below REQUIRED_AGREEMENT, or the record has another shape.
    """
    golden = segmenter.model.golden
    fractions = [_agreement_of_labels(segmenter, golden.labels, FrameOptions(filter=False))]
    if segmenter.embedding_filter is not None and golden.filtered is not None and _has_own_size(segmenter):
        own = replace(segmenter, embedding_filter=load_filter(segmenter.model, segmenter.input_size))
        fractions.append(_agreement_of_labels(own, golden.filtered, FrameOptions()))
    if golden.codes is not None and segmenter.code_pooling is not None:
        fractions += _agreement_of_codes(segmenter, golden.codes)
    return min(fractions)


def _agreement_of_labels(segmenter: Segmenter, recorded: UInt8Array, options: FrameOptions) -> float:
    """Fraction of golden pixels with the recorded label."""
    labels = np.stack([segmenter(image, options).labels for image in segmenter.model.golden.images])
    agreement = float((labels == recorded).mean())
    _refuse_below(segmenter, agreement, 'label', 'pixels')
    return agreement


def _agreement_of_codes(segmenter: Segmenter, recorded: UInt8Array) -> list[float]:
    """Fraction of golden bits with the recorded value; none at another input size, where codes differ."""
    assert segmenter.code_pooling is not None
    resized = [segmenter.resize(image) for image in segmenter.model.golden.images]
    logits = [segmenter.backend(torch.from_numpy(image)[None])['codes'][0] for image in resized]
    pairs = zip(logits, resized, strict=True)
    bits = np.stack([unpack(segmenter.code_pooling.golden(*pair)) for pair in pairs])
    if not _has_own_size(segmenter):
        return []
    if bits.shape != (*recorded.shape[:2], segmenter.code_pooling.n_bits):
        raise SelfCheckError(
            f'model {segmenter.model.path} records golden codes of shape {recorded.shape}; expected '
            f'{bits.shape[:2]} codes of {segmenter.code_pooling.n_bits} bits: fetch the file again'
        )
    expected = unpack(recorded.reshape(-1, recorded.shape[2])).reshape(bits.shape)
    agreement = float((bits == expected).mean())
    _refuse_below(segmenter, agreement, 'value', 'bits')
    return [agreement]


def _has_own_size(segmenter: Segmenter) -> bool:
    return segmenter.input_size == segmenter.model.metadata.input_size


def _refuse_below(segmenter: Segmenter, agreement: float, value: str, unit: str) -> None:
    if _has_own_size(segmenter) and agreement < REQUIRED_AGREEMENT:
        raise SelfCheckError(
            f'model {segmenter.model.path} gives the recorded {value} for {agreement:.1%} of its golden '
            f'{unit} on backend {segmenter.backend_name}, {segmenter.quantization}, {segmenter.device}; '
            f'expected {REQUIRED_AGREEMENT:.0%} or more. The file is damaged or the backend is broken: '
            'try another backend, or fetch the file again'
        )
