"""The network of a model file at each of the levels of precision that it can run at."""

import copy

import torch
from torch import nn

from seg_ros.modelfile.file import Model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.int8 import fold_batch_norms, quantize
from seg_ros.quantization.levels import QUANTIZATIONS


def frame_network(model: Model, level: str, *, with_embeddings: bool = False) -> FrameNetwork:
    """Copy of a model's network that computes at a level, with everything that reads its feature maps.

    Args:
        model: Model file in memory; not changed.
        level: Level chosen by seg_ros.modelfile.levels.choose_quantization.
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
