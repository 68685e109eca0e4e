"""The output of a foreign graph: which one it is, the order of its axes, and what its values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.errors import ModelFileError
from seg_ros.importing.onnx_file import OnnxFile, Outputs
from seg_ros.userfiles.reading import shown_path

Values = npt.NDArray[Any]

MEANINGS = ('scores', 'probabilities', 'labels')
"""Meanings of values: before softmax or sigmoid, after it, or ids of classes."""

_MOVING = (
    *('Identity', 'Cast', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Gather'),
    *('Resize', 'Upsample', 'Slice', 'Pad', 'Clip'),
)
_SHARES = ('Softmax', 'Sigmoid', 'HardSigmoid')
_ASPECT = 0.2
_LEAST_SIDE = 2
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class GraphOutput:
    """Output of a foreign graph.

    Attributes:
        name: Name of the tensor.
        meaning: One of MEANINGS.
        axes: Meaning of each axis: 'n' (batch of 1), 'k' (classes, or one channel), 'h', 'w', or 'p' for all
            pixels in one axis.
        n_channels: Number of channels: one for each class, or 1.
        size: (height, width) of the map.
        reason: Reason for the meaning, in words.
    """

    name: str
    meaning: str
    axes: str
    n_channels: int
    size: tuple[int, int]
    reason: str

    def __str__(self) -> str:
        height, width = self.size
        kind = f'{self.meaning} of {self.n_channels} channels' if self.meaning != 'labels' else 'labels'
        return f"'{self.name}': {kind}, {width}x{height}, axes {self.axes.upper()}, {self.reason}"


def find_output(
    file: OnnxFile,
    outputs: Outputs,
    size: tuple[int, int],
    n_classes: int,
    name: str | None = None,
    meaning: str | None = None,
) -> GraphOutput:
    """Find the output with the result, and its meaning.

    Scores are preferred to labels, larger maps to smaller ones, and earlier outputs to later ones.

    Args:
        file: The graph.
        outputs: Its outputs for a probe.
        size: (height, width) of the probe in pixels.
        n_classes: Number of classes.
        name: Name of the output; None = found.
        meaning: One of MEANINGS; None = found.

    Raises:
        ModelFileError: No output is a map of the classes.
    """
    names = [name] if name else list(outputs)
    found = [
        output
        for key in names
        if (output := _understood(file, key, outputs[key], size, n_classes, meaning)) is not None
    ]
    if not found:
        shown = ', '.join(f"'{key}' {_shape(outputs[key])}" for key in names)
        raise ModelFileError(
            f'{shown_path(file.path)} gives {shown} for an image of {size[1]}x{size[0]}; expected a map of '
            f'{n_classes} classes (of --classes), of 1 channel for 2 classes, or of labels'
            f'{_hint(outputs, names)}'
        )
    return max(found, key=lambda output: (output.meaning != 'labels', output.size[0] * output.size[1]))


def scores_before(file: OnnxFile, output: GraphOutput) -> str:
    """Name of the tensor of scores that labels are the argmax of; '' if there is none."""
    node = _origin(file, output.name)
    return str(node.input[0]) if node is not None and node.op_type == 'ArgMax' else ''


def _understood(
    file: OnnxFile, name: str, value: Any, size: tuple[int, int], n_classes: int, meaning: str | None
) -> GraphOutput | None:
    """Meaning of one output; None if it cannot be a map of the classes."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'fiub':
        return None
    origin = _origin(file, name)
    kind = origin.op_type if origin is not None else ''
    is_ids = meaning == 'labels' or (meaning is None and (value.dtype.kind in 'iub' or kind == 'ArgMax'))
    channels = {1} if is_ids else {n_classes, *([1] if n_classes == 2 else [])}
    fitting = _axes(value.shape, size, channels)
    if fitting is None:
        return None
    axes, map_size = fitting
    n_channels = value.shape[axes.index('k')] if 'k' in axes else 1
    chosen, reason = (meaning, 'as asked for') if meaning else _meaning(value, kind, axes, is_ids=is_ids)
    if chosen == 'labels':
        _check_labels(file, name, value, n_classes)
    return GraphOutput(name, chosen, axes, n_channels, map_size, reason)


def _meaning(value: Values, kind: str, axes: str, *, is_ids: bool) -> tuple[str, str]:
    """Meaning of values, and the reason in words."""
    if is_ids:
        return 'labels', f'since they are {value.dtype}' if value.dtype.kind in 'iub' else 'from an ArgMax'
    if kind in _SHARES:
        return 'probabilities', f'from a {kind}'
    low, high = float(np.nanmin(value)), float(np.nanmax(value))
    if low >= 0 and high <= 1 and 'k' in axes and value.shape[axes.index('k')] > 1:
        sums = value.astype(np.float64).sum(axes.index('k'))
        if np.abs(sums - 1).max() < _TOLERANCE:
            return 'probabilities', 'since they add up to 1'
    return 'scores', f'from {low:.3g} to {high:.3g}'


def _check_labels(file: OnnxFile, name: str, value: Values, n_classes: int) -> None:
    low, high = int(value.min()), int(value.max())
    if low < 0 or (high >= n_classes and high != 255):
        raise ModelFileError(
            f"{shown_path(file.path)}: output '{name}' has labels {low}..{high}; expected "
            f'0..{n_classes - 1}, of the classes in --classes, or 255 for none: give a class file with all '
            'classes of the network'
        )


def _axes(
    shape: tuple[int, ...], size: tuple[int, int], channels: set[int]
) -> tuple[str, tuple[int, int]] | None:
    """Meaning of the axes of a map, and its (height, width); None if it is no map.

    Args:
        shape: Shape of an output.
        size: (height, width) of the image, whose aspect the map has.
        channels: Possible numbers of channels; with 1 among them, the axis may be missing.
    """
    orders = ['nkhw', 'nhwk', 'khw', 'hwk', 'npk', 'nkp', 'pk', 'kp']
    orders += ['nhw', 'hw', 'np'] if 1 in channels else []
    fits: list[tuple[float, str, tuple[int, int]]] = []
    for order in orders:
        if len(order) != len(shape):
            continue
        sizes = dict(zip(order, shape, strict=True))
        if sizes.get('n', 1) != 1 or sizes.get('k', 1) not in channels:
            continue
        if 'k' not in order and 1 not in channels:
            continue
        map_size = _unflattened(sizes['p'], size) if 'p' in order else (sizes['h'], sizes['w'])
        if map_size is None:
            continue
        error = abs(map_size[0] * size[1] / (map_size[1] * size[0]) - 1)
        is_close = abs(map_size[0] - map_size[1] * size[0] / size[1]) <= 1  # sizes of coarse maps are rounded
        if min(map_size) >= _LEAST_SIDE and (error < _ASPECT or is_close):
            fits.append((error, order, map_size))
    if not fits:
        return None
    _, order, map_size = min(fits, key=lambda fit: fit[0])
    return order, map_size


def _unflattened(n_pixels: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(height, width) of a map whose pixels are in one axis: a whole fraction of the image's."""
    for divisor in range(1, 33):
        if size[0] % divisor == 0 == size[1] % divisor and n_pixels * divisor**2 == size[0] * size[1]:
            return size[0] // divisor, size[1] // divisor
    return None


def _origin(file: OnnxFile, name: str) -> Any:
    """The operation that made the values of a tensor, behind those that only move them; None if not found."""
    makers = {result: node for node in file.model.graph.node for result in node.output}
    for _ in range(len(makers)):
        node = makers.get(name)
        if node is None or node.op_type not in _MOVING or not node.input:
            return node
        name = node.input[0]
    return None


def _shape(value: Any) -> str:
    shape = value.shape if isinstance(value, np.ndarray) else ()
    return f'({", ".join(map(str, shape))})'


def _hint(outputs: Mapping[str, Any], names: list[str]) -> str:
    """Remedy that a shape suggests."""
    shapes = [outputs[name].shape for name in names if isinstance(outputs[name], np.ndarray)]
    counts = sorted({n for shape in shapes if len(shape) == 4 for n in (shape[1], shape[3]) if n <= 255})
    if not counts:
        return '; a detector or classifier has no such map'
    return f'; give a class file with {" or ".join(map(str, counts))} classes'
