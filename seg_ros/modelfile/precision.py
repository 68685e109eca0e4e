"""Quantization levels that a model file can be run at, and the network at each."""

import copy

import torch
from torch import nn

from seg_ros.errors import UnavailableError, look_up
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.int8 import fold_batch_norms, quantize
from seg_ros.quantization.levels import QUANTIZATIONS


def choose_quantization(model: Model, level: str) -> str:
    """The level behind 'auto', or the one asked for.

    Raises:
        UnavailableError: it cannot be derived from what the file holds.
        UnknownNameError: there is no such level.
    """
    stored = model.metadata.quantization
    if level == 'auto':
        return stored
    wanted = look_up(QUANTIZATIONS, level, 'quantization level')
    possible = [name for name in QUANTIZATIONS if is_derivable(model, name)]
    if level not in possible:
        lacks = ' without a calibration record' if stored in wanted.derivable_from else ''
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}{lacks}; '
            f'possible: auto, {", ".join(possible)}'
        )
    return level


def is_derivable(model: Model, level: str) -> bool:
    """Whether a file gives a level."""
    metadata = model.metadata
    has_ranges = QUANTIZATIONS[level].dtype != torch.int8 or metadata.calibration is not None
    return has_ranges and metadata.quantization in QUANTIZATIONS[level].derivable_from


def frame_network(model: Model, level: str, *, with_embeddings: bool = False) -> FrameNetwork:
    """A copy of a model's network, and of what reads its maps, that computes at a level.

    Args:
        model: not changed.
        level: one that :func:`choose_quantization` gave.
        with_embeddings: whether it shall give embeddings, of a model that has them.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        CalibrationError: the record of activations lacks a layer.
    """
    metadata = model.metadata
    frames = FrameNetwork(
        network_at(model.network, metadata, level),
        has_scores=len(metadata.classes) > 0,
        codes=copy.deepcopy(model.codes),
        taps=list(metadata.codes.taps) if metadata.codes else [],
        embeddings=copy.deepcopy(model.embeddings) if with_embeddings else None,
        embedding_taps=list(metadata.embeddings.taps) if metadata.embeddings and with_embeddings else [],
    )
    return frames.eval()


def network_at(network: nn.Module, metadata: ModelMetadata, level: str) -> ImageNetwork:
    """A network that computes at a level, on the CPU.

    Normalisations are folded into the convolutions that they follow. At int8 the network has its reference
    form: float operations that give what integers would, which backends replace.

    Args:
        network: float; not changed.
        metadata: gives normalisation and calibration.
        level: name in seg_ros.quantization.levels.QUANTIZATIONS.

    Raises:
        CalibrationError: the record of activations lacks a layer.
    """
    dtype, example = QUANTIZATIONS[level].dtype, example_input()
    if dtype == torch.int8:
        ranges = (metadata.calibration or {}).get('ranges', {})
        return ImageNetwork(quantize(network, ranges, example), metadata.normalisation).eval()
    # Inductor folds normalisations too, but into transposed convolutions along the wrong axis (torch 2.13).
    network = fold_batch_norms(copy.deepcopy(network).eval().float(), example)
    return ImageNetwork(network, metadata.normalisation, dtype).eval()


def example_input() -> torch.Tensor:
    """(1, 3, 64, 64) float zeros: what is passed through a network to see how it is made."""
    return torch.zeros(1, 3, 64, 64)
