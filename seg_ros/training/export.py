"""Writes a trained network as a model file, with its golden record."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.packed import plain_copy, rounded_to_file
from seg_ros.modelfile.precision import example_input, network_at
from seg_ros.networks.binary_layer import BinaryLayer
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.golden_record import N_SCENES, choose_scenes, make_code_golden, make_golden


def export_trained(path: Path, network: ImageNetwork | FilteredNetwork, metadata: ModelMetadata) -> None:
    """Write a network as it is trained: on any device, with its normalisation, head and filter.

    Args:
        path: Path of the file.
        network: Averaged weights of a run; not changed.
        metadata: Metadata of the file.

    Raises:
        CalibrationError: The level is int8 and the metadata lack the range of a layer.
        ModelFileError: A weight is not finite.
    """
    head = None
    if isinstance(network, FilteredNetwork):
        head, network = network.frames.embeddings, network.frames.network
    plain = plain_copy(network.network).cpu()
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    export_model(path, plain, metadata, None if head is None else copy.deepcopy(head).cpu())


def export_model(
    path: Path,
    network: nn.Module,
    metadata: ModelMetadata,
    embeddings: EmbeddingHead | None = None,
    codes: BinaryLayer | None = None,
) -> None:
    """Write a network at the quantization level that its metadata name.

    Args:
        path: Path of the file.
        network: Float network, on the CPU; not changed. The file holds its values rounded to the level.
        metadata: Metadata of the file. int8 needs its calibration record. Embeddings and codes in it are left
            out if there is no head or no layer.
        embeddings: Embedding head, or None; not changed.
        codes: Binary layer, or None; not changed. It reads the maps of the rounded network.

    Raises:
        CalibrationError: The level is int8 and the metadata lack the range of a layer.
        ModelFileError: A weight is not finite.
    """
    network, n_scenes = _rounded(network, metadata.quantization)
    plain = ImageNetwork(copy.deepcopy(network).eval().float(), metadata.normalisation).eval()
    scenes = choose_scenes(plain, metadata.input_size, n_scenes)
    computed = network_at(network, metadata, metadata.quantization)
    metadata = replace(
        metadata,
        embeddings=metadata.embeddings if embeddings else None,
        codes=metadata.codes if codes else None,
    )
    embeddings = copy.deepcopy(embeddings).eval() if embeddings and metadata.embeddings else None
    codes = copy.deepcopy(codes).eval() if codes and metadata.codes else None
    filtered = _filtered(computed, metadata, embeddings)
    golden = make_golden(computed, scenes[:1] if filtered else scenes, metadata.input_size, filtered)
    if metadata.codes:
        frames = FrameNetwork(computed, codes=codes, taps=list(metadata.codes.taps)).eval()
        golden = make_code_golden(frames, metadata.input_size, golden)
    save_model(path, network, metadata, golden, codes, embeddings)


def _filtered(
    network: ImageNetwork, metadata: ModelMetadata, head: EmbeddingHead | None
) -> FilteredNetwork | None:
    """The network with its embedding filter, or None without embeddings."""
    settings = metadata.embeddings
    if settings is None:
        return None
    frames = FrameNetwork(network, embeddings=head, embedding_taps=list(settings.taps))
    return FilteredNetwork(frames.eval(), settings.window, settings.iterations, settings.averages)


def _rounded(network: nn.Module, level: str) -> tuple[nn.Module, int]:
    """A network with the values that a file of a level holds, and the number of scenes in its record."""
    target = QUANTIZATIONS[level]
    if target.packed_as is not None:
        # One scene: a record of two would take an eighth of a small file.
        return rounded_to_file(network, target.packed_as, example_input(), n_bits=target.n_bits), 1
    if target.dtype != torch.float32:
        return copy.deepcopy(network).to(target.dtype), N_SCENES
    return network, N_SCENES
