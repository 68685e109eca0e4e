"""Graphs as OpenVINO runs them fastest: the same values, in operations that take less time.

Maps lie in OpenVINO's memory pixel by pixel, with all channels of one side by side, so transpositions to that
order cost nothing.
"""

import contextlib
import math
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

FOLDED = 'folded'
"""Second name of scores that are folded, see seg_ros.arrays.unfolded."""

_N_MAP_AXES = 4
_N_OF_BLOCK = 4  # pixels
_TYPES_OF_NUMPY = ('f16', 'f32', 'i8', 'u8')  # bfloat16 and 4-bit constants give NumPy something else
_REPEATS = {'mode': 'nearest', 'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
_FEW_CHANNELS = 16
_VECTORS = 'cpu:brgconv_avx512_1x1,cpu:brgconv_avx512'
"""OpenVINO's names of convolutions without tiles, which come before others; unknown to other processors."""

_TO_PIXELS, _TO_MAPS = (0, 2, 3, 1), (0, 3, 1, 2)


def fold(openvino: Any, model: Any, name: str) -> None:
    """Leave out the last operation before an output, if it only sorts the values of blocks of 2x2 pixels.

    Sorting takes a tenth of the time of the default network, and whoever reads the scores can do without. The
    four values of a class then lie side by side, so that pixels can be compared four at a time.

    Args:
        openvino: The package.
        model: Model; changed in place.
        name: Name of the scores, which get the name FOLDED as well if they stay unsorted.
    """
    result = model.output(name).get_node()
    last = result.input_value(0).get_node()
    blocks = {'block_size': 2, 'mode': 'blocks_first'}
    if last.get_type_name() != 'DepthToSpace' or last.get_attributes() != blocks:
        return
    unsorted = last.input_value(0)
    n_channels = unsorted.get_partial_shape()[1].get_length()
    found = _constants_of(unsorted.get_node(), n_channels)
    if not found:
        return
    order = np.arange(n_channels).reshape(_N_OF_BLOCK, -1).T.ravel()
    for reader, axis in found:
        values = reader.get_source_output().get_node().data
        reader.replace_source_output(openvino.opset13.constant(values.take(order, axis)).output(0))
    result.input(0).replace_source_output(unsorted)
    model.validate_nodes_and_infer_types()
    model.output(name).get_tensor().add_names({FOLDED})


def _constants_of(node: Any, n_channels: int) -> list[tuple[Any, int]]:
    """Constants of a convolution, perhaps with a bias, that differ between the channels it computes.

    Returns:
        Inputs that read such a constant, and the axis of the channels; none for other operations.
    """
    found: list[tuple[Any, int]] = []
    waiting: list[tuple[Any, int | None]] = []
    if node.get_type_name() == 'Add':
        waiting.append((node.input(1), 1))
        node = node.input_value(0).get_node()
    if node.get_type_name() != 'Convolution':
        return []
    waiting.append((node.input(1), 0))
    while waiting:
        reader, axis = waiting.pop()
        source = reader.get_source_output().get_node()
        kind = source.get_type_name()
        if kind == 'Constant':
            shape = tuple(source.get_output_shape(0))
            place = _axis_of(shape, axis, n_channels)
            if place is not None and source.get_element_type().get_type_name() in _TYPES_OF_NUMPY:
                found.append((reader, place))
            elif math.prod(shape) > 1:
                return []
        elif kind == 'Reshape':
            shape = tuple(source.get_output_shape(0))
            if math.prod(shape) != n_channels or _axis_of(shape, axis, n_channels) is None:
                return []
            waiting.append((source.input(0), None))
        elif kind == 'Convert':
            waiting.append((source.input(0), axis))
        elif kind in ('Subtract', 'Multiply', 'FakeQuantize'):
            waiting += [(reader, axis) for reader in source.inputs()]
        else:
            return []
    return found


def _axis_of(shape: tuple[int, ...], axis: int | None, n_channels: int) -> int | None:
    """Axis of the channels of a constant; None if it has the same value for all, or is not known.

    Args:
        shape: Its shape.
        axis: Axis of the channels in weights or maps, which have 4 axes; None = the only axis longer than 1.
        n_channels: Number of channels.
    """
    if axis is None:
        return shape.index(n_channels) if math.prod(shape) == n_channels and n_channels in shape else None
    place = axis + len(shape) - _N_MAP_AXES
    return place if 0 <= place < len(shape) and shape[place] == n_channels else None


def sum_in_blocks(openvino: Any, model: Any) -> int:
    """Add a map of half the size to blocks of 2x2 pixels, where the graph enlarges it first.

    For 8-bit networks: the engine fuses the sum with the rounding that follows, and the enlarged map is never
    in memory, which saves 8 % of the time of the default network. In floats the engine fuses it with the
    convolution before, so nothing is gained. Sums are the same to the last bit.

    Args:
        openvino: The package.
        model: Model of fixed shapes; changed in place.

    Returns:
        Number of sums that have changed.
    """
    sums = [node for node in model.get_ordered_ops() if node.get_type_name() == 'Add']
    return sum(_sum_in_blocks(openvino, node) for node in sums)


def _sum_in_blocks(openvino: Any, node: Any) -> bool:
    terms = [node.input_value(0), node.input_value(1)]
    repeated = next((term for term in terms if _repeats_pixels(term)), None)
    if repeated is None or terms[0].get_partial_shape() != terms[1].get_partial_shape():
        return False
    ops = openvino.opset13
    other = terms[terms[0] == repeated]
    small = repeated.get_node().input_value(0)
    batch, channels, height, width = small.get_shape()

    def pixels(maps: Any, *shape: int) -> Any:
        return ops.reshape(ops.transpose(maps, _TO_PIXELS), (batch, *shape, channels), special_zero=False)

    blocks = ops.add(pixels(small, height, 1, width, 1), pixels(other, height, 2, width, 2))
    whole = ops.reshape(blocks, (batch, 2 * height, 2 * width, channels), special_zero=False)
    result = ops.transpose(whole, _TO_MAPS)
    result.set_friendly_name(node.get_friendly_name())
    for reader in node.output(0).get_target_inputs():
        reader.replace_source_output(result.output(0))
    return True


def _repeats_pixels(value: Any) -> bool:
    """Whether a value is a map in which each pixel of a smaller one comes four times."""
    node = value.get_node()
    if node.get_type_name() != 'Interpolate' or value.get_partial_shape().is_dynamic:
        return False
    attributes, before = node.get_attributes(), node.input_value(0).get_partial_shape()
    if before.is_dynamic or len(before) != _N_MAP_AXES:
        return False
    batch, channels, height, width = node.input_value(0).get_shape()
    is_doubled = tuple(value.get_shape()) == (batch, channels, 2 * height, 2 * width)
    return is_doubled and all(attributes.get(key) == wanted for key, wanted in _REPEATS.items())


def prefer_vectors(openvino: Any, core: Any, model: Any) -> Any:
    """The model with convolutions of few channels in vector instructions also where a processor has tiles.

    AMX multiplies tiles of 64 bytes of each pixel, and 3 or 16 channels leave most of one empty: the first
    layers take twice the time of AVX-512. For 8-bit networks. Only a model in OpenVINO's own format can say
    what comes first, so it is written and read again; where this is impossible it stays as it is.

    Args:
        openvino: The package.
        core: The engine.
        model: Model of fixed shapes.
    """
    few = {
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == 'Convolution' and node.get_input_shape(1)[1] <= _FEW_CHANNELS
    }
    if not few:
        return model
    with contextlib.suppress(OSError, RuntimeError), tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder, 'graph.xml'), Path(folder, 'graph.bin')
        openvino.serialize(model, graph, weights)
        root = ElementTree.fromstring(graph.read_bytes())
        for layer in root.iterfind('layers/layer'):
            if layer.get('type') == 'Convolution' and layer.get('name') in few:
                facts = layer.find('rt_info')
                facts = ElementTree.SubElement(layer, 'rt_info') if facts is None else facts
                ElementTree.SubElement(
                    facts, 'attribute', name='primitives_priority', version='0', value=_VECTORS
                )
        return core.read_model(ElementTree.tostring(root), weights.read_bytes())
    return model
