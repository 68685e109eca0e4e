"""What there is to choose from: literal tables of real objects, the one place to add an entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from seg_ros.data.camvid import CamVid
from seg_ros.data.cityscapes import Cityscapes
from seg_ros.data.dataset import Dataset
from seg_ros.data.folder import FolderDataset
from seg_ros.data.msrc import MSRC
from seg_ros.data.rendered import RenderedDataset
from seg_ros.data.segmented import (
    BSDS500,
    LabelledAsSegments,
    MSRCv2,
    SegmentedImages,
    SegmentFolder,
)
from seg_ros.data.soccer import SoccerDataset
from seg_ros.data.squares import SquaresDataset
from seg_ros.data.voc import PascalVOC
from seg_ros.errors import UnknownNameError
from seg_ros.models.alexnet import AlexNetFeatures
from seg_ros.models.efficientnet import EfficientNetLitePyramid
from seg_ros.models.enet import ENet
from seg_ros.models.fcn import FCN
from seg_ros.models.hypercolumn import Hypercolumn
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
    'fcn': FCN,
    'hypercolumn': Hypercolumn,
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
    'cityscapes': Cityscapes,
    'folder': FolderDataset,
    'msrc_v2': MSRC,
    'rendered': RenderedDataset,
    'soccer': SoccerDataset,
    'squares': SquaresDataset,
    'voc': PascalVOC,
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
        dtype: what the network computes in; int8 means 8-bit activations and weights.
        derivable_from: levels of a file from which this one can be had without further data.
        packed_as: how a file keeps the weights, see seg_ros.compress.packing; None for tensors as they are.
        n_bits: of a weight in a file.
    """

    dtype: torch.dtype
    derivable_from: tuple[str, ...]
    packed_as: str | None = None
    n_bits: int = 32


_SHARED = {n_bits: f'shared-{n_bits}' for n_bits in range(2, 9)}
_COARSE = ('int8', 'int4', *_SHARED.values())

QUANTIZATIONS: dict[str, Quantization] = {
    'fp32': Quantization(torch.float32, ('fp32', *_COARSE)),
    'bf16': Quantization(torch.bfloat16, ('fp32', 'bf16', *_COARSE), n_bits=16),
    'fp16': Quantization(torch.float16, ('fp32', 'fp16', *_COARSE), n_bits=16),
    'int8': Quantization(torch.int8, ('fp32', 'int8'), 'int8', 8),
    'int4': Quantization(torch.float32, ('int4',), 'int4', 4),
    **{level: Quantization(torch.float32, (level,), 'shared', n_bits) for n_bits, level in _SHARED.items()},
}
"""Levels of precision by name. int8 also needs a calibration record in the file."""

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
