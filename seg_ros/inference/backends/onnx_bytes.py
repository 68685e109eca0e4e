"""The first operations of an exported graph: the bytes of an image reach 8-bit layers as they are.

An 8-bit network normalises an image in floats, pads it, and rounds it to the bytes of its first layer. If the
normalisation maps 0..255 onto the range of that layer, these are the bytes of the image again.
"""

from typing import Any

import numpy as np

from seg_ros.arrays import Float32Array

_ARRANGES = frozenset(['Reshape', 'Squeeze', 'Unsqueeze', 'Pad'])
_COMPUTES = frozenset(['Cast', 'Mul', 'Add', 'QuantizeLinear'])
_BYTES = np.arange(256, dtype=np.float32)[:, None]
_NEAR = 0.25
"""Largest distance from a whole number at which any way of rounding gives this number."""


def pass_bytes(model: Any) -> bool:
    """Remove normalisation and rounding from a graph in which they give the bytes of the image.

    Args:
        model: ``onnx.ModelProto`` whose first input is an image of bytes; changed in place.

    Returns:
        Whether the graph has changed.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    chain = _until_rounded(graph)
    removed = [node for node in chain if node.op_type in _COMPUTES]
    if not removed or not _gives_bytes(removed, constants):
        return False
    origin = {node.output[0]: node.input[0] for node in removed}
    _remove(graph.node, removed)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = _origin(name, origin)
    changed = {node.output[0] for node in chain}  # these are bytes now
    used = {name for node in graph.node for name in node.input}
    _remove(graph.value_info, [value for value in graph.value_info if value.name in changed])
    _remove(graph.initializer, [tensor for tensor in graph.initializer if tensor.name not in used])
    return True


def _until_rounded(graph: Any) -> list[Any]:
    """Operations from the image to its first rounding, each read by the next one alone; else none."""
    chain: list[Any] = []
    name = graph.input[0].name
    while not chain or chain[-1].op_type != 'QuantizeLinear':
        readers = [node for node in graph.node if name in node.input]
        known = [node for node in readers if node.op_type in _ARRANGES | _COMPUTES and node.input[0] == name]
        if len(known) != 1 or (chain and len(readers) != 1):  # others may read the image, too
            return []
        chain += known
        name = known[0].output[0]
    return chain


def _gives_bytes(nodes: list[Any], constants: dict[str, Any]) -> bool:
    """Whether each byte, in each column of the image, becomes itself."""
    values: Float32Array = _BYTES
    for node in nodes:
        if node.op_type == 'Cast':
            continue
        operands = [constants.get(name) for name in node.input[1:]]
        if any(operand is None or operand.size != max((1, *operand.shape[-1:])) for operand in operands):
            return False  # it changes from row to row, or with the image
        factors = [np.asarray(operand).reshape(-1) for operand in operands]
        if node.op_type == 'Mul':
            values = values * factors[0]
        elif node.op_type == 'Add':
            values = values + factors[0]
        elif len(factors) < 2 or factors[1].dtype != np.uint8:
            return False
        else:
            values = values / factors[0] + factors[1]
    return bool(np.abs(values - _BYTES).max() < _NEAR)


def _origin(name: str, origin: dict[str, str]) -> str:
    while name in origin:
        name = origin[name]
    return name


def _remove(holder: Any, parts: list[Any]) -> None:
    for part in parts:
        holder.remove(part)
