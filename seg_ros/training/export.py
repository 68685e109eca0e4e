"""From a trained network to a model file at some quantisation level, with the record that proves it."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seg_ros.modelfile.file import save_model
from seg_ros.modelfile.metadata import ModelDescription
from seg_ros.modelfile.packed import settled
from seg_ros.modelfile.precision import example_input, network_at
from seg_ros.networks.embedding_head import EmbeddingHead
from seg_ros.networks.filtered_network import SharpenedNetwork
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.golden_record import N_SCENES, choose_scenes, make_golden


def write_model(
    path: Path,
    network: nn.Module,
    description: ModelDescription,
    embeddings: EmbeddingHead | None = None,
) -> None:
    """Save a network without codes at the level that its description names.

    Args:
        path: of the file.
        network: float; what the level cannot hold is rounded.
        description: its quantization decides how; int8 needs its calibration. Embeddings that it speaks of
            are left out where there is no head.
        embeddings: the head that gives them.

    Raises:
        CalibrationError: int8 without a range for each layer.
        ModelFileError: a weight is not finite.
    """
    level = QUANTIZATIONS[description.quantization]
    n_scenes = N_SCENES
    if level.packed_as is not None:
        network = settled(network, level.packed_as, example_input(), n_bits=level.n_bits)
        n_scenes = 1  # a record of two scenes would be an eighth of a small file
    elif level.dtype != torch.float32:
        network = copy.deepcopy(network).to(level.dtype)
    plain = ImageNetwork(copy.deepcopy(network).eval().float(), description.normalisation).eval()
    scenes = choose_scenes(plain, description.input_size, n_scenes)
    computed = network_at(network, description, description.quantization)
    if embeddings is None or description.embeddings is None:
        golden = make_golden(computed, scenes, description.input_size)
        save_model(path, network, replace(description, codes=None, embeddings=None), golden)
        return
    about, head = description.embeddings, copy.deepcopy(embeddings).eval()
    frames = FrameNetwork(computed, embeddings=head, embedding_taps=list(about.taps))
    sharpened = SharpenedNetwork(frames.eval(), about.window, about.iterations)
    golden = make_golden(computed, scenes[:1], description.input_size, sharpened)
    save_model(path, network, replace(description, codes=None), golden, embeddings=head)
