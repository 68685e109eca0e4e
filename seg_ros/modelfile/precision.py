"""Levels of precision that a model file can run at, and the network at each level."""

import copy

import torch
from torch import nn

from seg_ros.errors import UnavailableError, look_up
from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.onnx_graph import no_pytorch
from seg_ros.quantization.int8 import fold_batch_norms, quantize
from seg_ros.quantization.levels import QUANTIZATIONS


def choose_quantization(model: Model, level: str) -> str:
    """Choose the level that a model runs at.

    Args:
        model: Model file in memory.
        level: Name of a level, or 'auto' for the level of the file.

    Raises:
        UnavailableError: The level cannot be derived from the file; the message lists those that can, and
            the command that makes a file of this level.
        UnknownNameError: The level does not exist.
    """
    stored = model.metadata.quantization
    if level == 'auto':
        return stored
    wanted = look_up(QUANTIZATIONS, level, 'quantization level')
    if not is_derivable(model, level):
        lacks = ' without a calibration record' if stored in wanted.derivable_from else ''
        if model.graph is not None:
            raise UnavailableError(f'{model.path}: {no_pytorch(f"quantization {level}")}')
        command = f'; {wanted.made_by} makes a file of that level' if wanted.made_by else ''
        raise UnavailableError(
            f'quantization {level} cannot be derived from {model.path}, which holds {stored}{lacks}; '
            f'possible: auto, {", ".join(possible_levels(model))}{command}'
        )
    return level


def possible_levels(model: Model) -> list[str]:
    """Levels that a file can give, without 'auto'."""
    return [name for name in QUANTIZATIONS if is_derivable(model, name)]


def is_derivable(model: Model, level: str) -> bool:
    """Whether a level can be derived from a file."""
    metadata = model.metadata
    if model.graph is not None:
        return level == metadata.quantization
    has_ranges = QUANTIZATIONS[level].dtype != torch.int8 or metadata.calibration is not None
    return has_ranges and metadata.quantization in QUANTIZATIONS[level].derivable_from


def frame_network(model: Model, level: str, *, with_embeddings: bool = False) -> FrameNetwork:
    """Copy of a model's network that computes at a level, with everything that reads its feature maps.

    Args:
        model: Model file in memory; not changed.
        level: Level chosen by :func:`choose_quantization`.
        with_embeddings: Whether the network returns embeddings; needs a model with embeddings.

    Returns:
        Network in evaluation mode, on the CPU.

    Raises:
        CalibrationError: The calibration record lacks a layer.
    """
    metadata = model.metadata
    if model.graph is not None:
        return FrameNetwork(ImageNetwork(model.network, metadata.normalisation)).eval()
    frames = FrameNetwork(
        network_at(model.network, metadata, level),
        has_scores=len(metadata.classes) > 0,
        codes=copy.deepcopy(model.codes),
        taps=list(metadata.codes.taps) if metadata.codes else [],
        embeddings=copy.deepcopy(model.embeddings) if with_embeddings else None,
        embedding_taps=list(metadata.embeddings.taps) if metadata.embeddings and with_embeddings else [],
    )
    frames.identity = f'{model.digest} {level} {with_embeddings}'
    return frames.eval()


def network_at(network: nn.Module, metadata: ModelMetadata, level: str) -> ImageNetwork:
    """Copy of a network that computes at a level, on the CPU.

    Batch normalisation is folded into the preceding convolutions. At int8 the network has its reference form:
    float operations with the results of integers, which backends replace.

    Args:
        network: Float network; not changed.
        metadata: Metadata with normalisation and calibration.
        level: Name in seg_ros.quantization.levels.QUANTIZATIONS.

    Raises:
        CalibrationError: The calibration record lacks a layer.
    """
    dtype, example = QUANTIZATIONS[level].dtype, example_input()
    if dtype == torch.int8:
        ranges = (metadata.calibration or {}).get('ranges', {})
        return ImageNetwork(quantize(network, ranges, example), metadata.normalisation).eval()
    # Inductor folds normalisations too, but into transposed convolutions along the wrong axis (torch 2.13).
    network = fold_batch_norms(copy.deepcopy(network).eval().float(), example)
    return ImageNetwork(network, metadata.normalisation, dtype).eval()


def example_input() -> torch.Tensor:
    """Input for tracing a network: (1, 3, 64, 64) float32 zeros."""
    return torch.zeros(1, 3, 64, 64)
