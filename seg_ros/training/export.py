"""From a trained network to a model file at some quantisation level, with the record that proves it."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.packed import rounded_to_file
from seg_ros.modelfile.precision import example_input, network_at
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.filtered_network import FilteredNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.golden_record import N_SCENES, choose_scenes, make_golden


def export_model(
    path: Path,
    network: nn.Module,
    metadata: ModelMetadata,
    embeddings: EmbeddingHead | None = None,
) -> None:
    """Save a network without codes at the level that its description names.

    Args:
        path: of the file.
        network: float; what the level cannot hold is rounded.
        metadata: its quantization decides how; int8 needs its calibration. Embeddings that it speaks of
            are left out where there is no head.
        embeddings: the head that gives them.

    Raises:
        CalibrationError: int8 without a range for each layer.
        ModelFileError: a weight is not finite.
    """
    level = QUANTIZATIONS[metadata.quantization]
    n_scenes = N_SCENES
    if level.packed_as is not None:
        network = rounded_to_file(network, level.packed_as, example_input(), n_bits=level.n_bits)
        n_scenes = 1  # a record of two scenes would be an eighth of a small file
    elif level.dtype != torch.float32:
        network = copy.deepcopy(network).to(level.dtype)
    plain = ImageNetwork(copy.deepcopy(network).eval().float(), metadata.normalisation).eval()
    scenes = choose_scenes(plain, metadata.input_size, n_scenes)
    computed = network_at(network, metadata, metadata.quantization)
    if embeddings is None or metadata.embeddings is None:
        golden = make_golden(computed, scenes, metadata.input_size)
        save_model(path, network, replace(metadata, codes=None, embeddings=None), golden)
        return
    settings, head = metadata.embeddings, copy.deepcopy(embeddings).eval()
    frames = FrameNetwork(computed, embeddings=head, embedding_taps=list(settings.taps))
    filtered = FilteredNetwork(frames.eval(), settings.window, settings.iterations)
    golden = make_golden(computed, scenes[:1], metadata.input_size, filtered)
    save_model(path, network, replace(metadata, codes=None), golden, embeddings=head)
