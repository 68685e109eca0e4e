"""The input of a foreign graph: its order of axes and its size, declared or found by running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UInt8Array
from seg_ros.errors import ModelFileError
from seg_ros.images.resize import resize_image
from seg_ros.importing.onnx_file import OnnxFile, Outputs, TensorSpec
from seg_ros.networks.normalisation import Normalisation
from seg_ros.userfiles.reading import shown_path

LAYOUTS = ('nchw', 'nhwc')

FREE_SIZES = ((360, 480), (384, 512), (512, 512), (256, 256))
"""Sizes (height, width) to try, in this order, for a graph that takes images of any size."""

_DTYPES = ('float32', 'float16', 'float64', 'uint8', 'int32', 'int64')


@dataclass(frozen=True)
class GraphInput:
    """Input of a foreign graph.

    Attributes:
        spec: Its declaration.
        layout: 'nchw' or 'nhwc', also without a batch axis.
        has_batch: Whether it has a batch axis, of 1.
        size: (height, width) in pixels.
        is_free: Whether it takes other sizes too.
        outputs: All outputs for a probe of this size.
    """

    spec: TensorSpec
    layout: str
    has_batch: bool
    size: tuple[int, int]
    is_free: bool
    outputs: Outputs

    def tensor_of(self, image: UInt8Array, normalisation: Normalisation) -> npt.NDArray[Any]:
        """Input for an image (H, W, 3) uint8 RGB."""
        return as_input(image, normalisation, self.spec, self.layout, self.size, has_batch=self.has_batch)


def find_input(
    file: OnnxFile,
    probe: UInt8Array,
    normalisation: Normalisation,
    layout: str | None,
    size: tuple[int, int] | None,
) -> GraphInput:
    """Find the input, and run the graph on a probe.

    Args:
        file: The graph.
        probe: (H, W, 3) uint8 RGB, any image.
        normalisation: Normalisation of the probe.
        layout: One of LAYOUTS; None = found.
        size: (height, width) of the input in pixels; None = the declared one, or one of FREE_SIZES.

    Raises:
        ModelFileError: The graph has several inputs, or none that takes an image.
    """
    spec = only_input(file)
    where = f'{shown_path(file.path)}: its input {spec}'
    attempts = [
        (kind, chosen)
        for kind in ([layout] if layout else sorted(LAYOUTS, key=lambda kind: _channels(spec, kind) != 3))
        if _fits(spec, kind)
        for chosen in _sizes(spec, kind, size)
    ]
    if not attempts:
        wanted = f'{size[1]}x{size[0]} pixels' if size else 'any size'
        raise ModelFileError(
            f'{where} does not take an image; expected a batch of 1, 3 channels (NCHW or NHWC'
            f'{", " + layout + " was asked for" if layout else ""}) and {wanted}: '
            'export the network with such an input'
        )
    first: ModelFileError | None = None
    for kind, chosen in attempts:
        has_batch = len(spec.shape) != 3
        try:
            value = as_input(probe, normalisation, spec, kind, chosen, has_batch=has_batch)
            outputs = file.run(spec.name, value)
        except ModelFileError as err:
            first = first or err
            continue
        is_free = None in _sides(spec, kind)
        return GraphInput(spec, kind, has_batch, chosen, is_free, outputs)
    raise ModelFileError(f'{first}; --layout and --input-size choose another order of axes or another size')


def only_input(file: OnnxFile) -> TensorSpec:
    """The only input of a graph.

    Raises:
        ModelFileError: There are several, or none, or its type is not one of numbers.
    """
    if len(file.inputs) != 1:
        found = ', '.join(str(spec) for spec in file.inputs) or 'none'
        raise ModelFileError(
            f'{shown_path(file.path)} has {len(file.inputs)} inputs: {found}; expected 1, the image: export '
            'the network with the others as constants'
        )
    spec = file.inputs[0]
    if spec.dtype is None or spec.dtype.name not in _DTYPES:
        raise ModelFileError(
            f'{shown_path(file.path)}: its input is {spec}; expected one of {", ".join(_DTYPES)}: export the '
            'network with such an input'
        )
    return spec


def as_input(
    image: UInt8Array,
    normalisation: Normalisation,
    spec: TensorSpec,
    layout: str,
    size: tuple[int, int],
    *,
    has_batch: bool,
) -> npt.NDArray[Any]:
    """An image (H, W, 3) uint8 RGB as the input of a graph."""
    resized = resize_image(image, *size)
    if normalisation.channel_order == 'bgr':
        resized = resized[..., ::-1]
    mean, std = np.array(normalisation.mean, np.float32), np.array(normalisation.std, np.float32)
    values = (resized / np.float32(255) - mean) / std
    values = values if layout == 'nhwc' else values.transpose(2, 0, 1)
    dtype = spec.dtype or np.dtype(np.float32)
    values = np.rint(values) if dtype.kind in 'ui' else values
    return np.ascontiguousarray((values[None] if has_batch else values).astype(dtype))


def _fits(spec: TensorSpec, layout: str) -> bool:
    """Whether an image of some size fits a declaration; one without a shape takes everything."""
    shape = spec.shape
    if not shape:
        return True
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[0] not in (None, 1)):
        return False
    return _channels(spec, layout) in (None, 3)


def _channels(spec: TensorSpec, layout: str) -> int | None:
    """Declared number of channels; None if it is free."""
    if len(spec.shape) not in (3, 4):
        return None
    return spec.shape[-3] if layout == 'nchw' else spec.shape[-1]


def _sides(spec: TensorSpec, layout: str) -> tuple[int | None, int | None]:
    if not spec.shape:
        return None, None
    height, width = spec.shape[-2:] if layout == 'nchw' else spec.shape[-3:-1]
    return height, width


def _sizes(spec: TensorSpec, layout: str, size: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Sizes to try; those that differ from a declared side are left out."""
    height, width = _sides(spec, layout)
    if size is not None:
        return [size] if height in (None, size[0]) and width in (None, size[1]) else []
    if height is not None and width is not None:
        return [(height, width)]
    tried = [(height or h, width or w) for h, w in FREE_SIZES]
    return list(dict.fromkeys(tried))
