"""What there is to choose from: literal tables of real objects, the one place to add an entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from seg_ros.data.camvid import CamVid
from seg_ros.data.dataset import Dataset
from seg_ros.data.folder import FolderDataset
from seg_ros.data.rendered import RenderedDataset
from seg_ros.data.segmented import (
    BSDS500,
    LabelledAsSegments,
    MSRCv2,
    SegmentedImages,
    SegmentFolder,
)
from seg_ros.data.squares import SquaresDataset
from seg_ros.errors import UnknownNameError
from seg_ros.models.alexnet import AlexNetFeatures
from seg_ros.models.efficientnet import EfficientNetLitePyramid
from seg_ros.models.enet import ENet
from seg_ros.models.segnet import SegNet, SegNetBasic, SegNetSmall
from seg_ros.models.squeezenet import SqueezeNetFeatures, SqueezeNetPyramid
from seg_ros.runtime.backend import Backend
from seg_ros.runtime.onnx_runtime import OnnxRuntimeBackend
from seg_ros.runtime.torch_compiled import CompiledBackend
from seg_ros.runtime.torch_eager import TorchBackend

T = TypeVar('T')

MODELS: dict[str, Callable[..., nn.Module]] = {
    'efficientnet_lite_pyramid': EfficientNetLitePyramid,
    'enet': ENet,
    'segnet': SegNet,
    'segnet_basic': SegNetBasic,
    'segnet_small': SegNetSmall,
    'squeezenet_pyramid': SqueezeNetPyramid,
}
"""Architectures by name; each is called with the number of classes and its own keyword arguments."""


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    'alexnet': AlexNetFeatures,
    'squeezenet': SqueezeNetFeatures,
}
"""Networks without classes, for models that give codes alone; each is called with its keyword arguments."""

DATASETS: dict[str, Callable[..., Dataset]] = {
    'camvid': CamVid,
    'folder': FolderDataset,
    'rendered': RenderedDataset,
    'squares': SquaresDataset,
}
"""Data sets by name; each is called with its root folder, the split, and its own keyword arguments."""


SEGMENTED: dict[str, Callable[[Path | None, str], SegmentedImages]] = {
    'bsds500': BSDS500,
    'camvid': lambda root, split: LabelledAsSegments(CamVid(root, split)),
    'folder': SegmentFolder,
    'msrc_v2': MSRCv2,
}
"""Images cut into segments, by name; each is called with its root folder and the split."""


@dataclass(frozen=True)
class Quantization:
    """A level of numerical precision.

    Attributes:
        dtype: what the network computes in.
        derivable_from: levels of a file from which this one can be had without further data.
    """

    dtype: torch.dtype
    derivable_from: tuple[str, ...]


QUANTIZATIONS: dict[str, Quantization] = {
    'fp32': Quantization(torch.float32, ('fp32',)),
    'bf16': Quantization(torch.bfloat16, ('fp32', 'bf16')),
    'fp16': Quantization(torch.float16, ('fp32', 'fp16')),
}

"""Levels of precision by name."""

BACKENDS: dict[str, type[Backend]] = {
    'torch': TorchBackend,
    'torch_compile': CompiledBackend,
    'onnxruntime': OnnxRuntimeBackend,
}
"""What can run a network, by name."""


def look_up(table: Mapping[str, T], name: str, kind: str) -> T:
    """An entry of a table.

    Raises:
        UnknownNameError: it is not there; the message lists what is.
    """
    if name not in table:
        raise UnknownNameError(kind, name, sorted(table))
    return table[name]
