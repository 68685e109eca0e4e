"""From a trained network to a model file at some quantisation level, with the record that proves it."""

import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from seg_ros.checkpoint import save_model
from seg_ros.choice import example_input, network_at
from seg_ros.compress.stored import settled
from seg_ros.description import ModelDescription
from seg_ros.golden import N_SCENES, choose_scenes, make_golden
from seg_ros.image import ImageNetwork
from seg_ros.registry import QUANTIZATIONS


def write_model(path: Path, network: nn.Module, description: ModelDescription) -> None:
    """Save a network without codes at the level that its description names.

    Args:
        path: of the file.
        network: float; what the level cannot hold is rounded.
        description: its quantization decides how; int8 needs its calibration.

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
    golden = make_golden(computed, scenes, description.input_size)
    save_model(path, network, replace(description, codes=None), golden)
