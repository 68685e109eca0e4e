"""Facts about the ONNX graph in a model file, read from its bytes without the package onnx.

ONNX files are Protocol Buffers: fields of a number and a type, one after the other
(https://protobuf.dev/programming-guides/encoding, and the file onnx.proto of ONNX for the numbers). Only what
decides whether a graph may run is read. A graph that takes weights from other files is refused, because a
model file must not make a program read files of its reader.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from seg_ros.errors import ModelFileError
from seg_ros.networks.graph_names import GRAPH_INPUT, GRAPH_OUTPUT

_MODEL_GRAPH, _MODEL_FUNCTIONS, _MODEL_OPSET = 7, 25, 8
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 15, 11, 12
_FUNCTION_NODE, _NODE_ATTRIBUTE = 7, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

_INTEGERS = {6, 7, 9, 13}
"""Types of tensors that hold shapes, axes and flags, not weights: int32, int64, bool and uint64."""

_FIELDS_LIMIT = 2_000_000
_DEPTH_LIMIT = 16
_LONGEST_VARINT = 10


@dataclass
class GraphFacts:
    """Facts about an ONNX graph.

    Attributes:
        opset: Version of ONNX's own operators, 0 if none is stated.
        n_nodes: Number of operations.
        n_weights: Number of values of its constant tensors, without integers of 32 and 64 bits.
        inputs: Name of each input -> its dimensions; None for a free one.
        outputs: Names of the outputs.
    """

    opset: int = 0
    n_nodes: int = 0
    n_weights: int = 0
    inputs: dict[str, list[int | None]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of the images in pixels; None if the graph takes any size."""
        _, height, width, _ = self.inputs[GRAPH_INPUT]
        return None if height is None or width is None else (height, width)


def scan_graph(content: bytes | memoryview, outputs: Sequence[str] = (GRAPH_OUTPUT,)) -> GraphFacts:
    """Read the facts about an imported graph.

    Args:
        content: A serialised ``ModelProto``.
        outputs: Names that its outputs must have.

    Raises:
        ModelFileError: The bytes are not one, or it refers to other files, or its input and output are not
            those of an imported graph.
    """
    scan = _Scan()
    scan.model(memoryview(content))
    facts = scan.facts
    dims = facts.inputs.get(GRAPH_INPUT, [])
    is_wired = list(facts.inputs) == [GRAPH_INPUT] and facts.outputs == list(outputs)
    if not is_wired or len(dims) != 4 or (dims[0], dims[3]) != (1, 3):
        raise ModelFileError(
            f'its graph has inputs {facts.inputs} and outputs {facts.outputs}; expected {GRAPH_INPUT} of 1, '
            f'height, width, 3 and {list(outputs)}: import or export the file again'
        )
    return facts


class _Scan:
    """One pass over a graph, within bounds."""

    def __init__(self) -> None:
        self.facts = GraphFacts()
        self._n_fields = 0

    def model(self, data: memoryview) -> None:
        n_graphs = 0
        for number, value in self._fields(data):
            if number == _MODEL_GRAPH:
                n_graphs += 1
                self._main_graph(_part(value))
            elif number == _MODEL_FUNCTIONS:
                self._nodes(_part(value), _FUNCTION_NODE, 0)
            elif number == _MODEL_OPSET:
                self._opset(_part(value))
        if n_graphs != 1:
            raise ModelFileError(f'its ONNX model has {n_graphs} graphs; expected 1: import the file again')

    def _opset(self, data: memoryview) -> None:
        fields = dict(self._fields(data))
        domain, version = bytes(_part(fields.get(1, b''))), fields.get(2)
        if domain in (b'', b'ai.onnx') and isinstance(version, int):
            self.facts.opset = version

    def _main_graph(self, data: memoryview) -> None:
        for number, value in self._fields(data):
            if number == _GRAPH_INPUT:
                name, dims = self._value(_part(value))
                self.facts.inputs[name] = dims
            elif number == _GRAPH_OUTPUT:
                self.facts.outputs.append(self._value(_part(value))[0])
        self._graph(data, 0)

    def _graph(self, data: memoryview, depth: int) -> None:
        if depth > _DEPTH_LIMIT:
            raise ModelFileError(f'its graph nests more than {_DEPTH_LIMIT} levels; expected fewer')
        for number, value in self._fields(data):
            if number == _GRAPH_INITIALIZER:
                self._tensor(_part(value))
            elif number == _GRAPH_SPARSE:
                self._sparse(_part(value))
        self._nodes(data, _GRAPH_NODE, depth)

    def _nodes(self, data: memoryview, node: int, depth: int) -> None:
        for number, value in self._fields(data):
            if number != node:
                continue
            self.facts.n_nodes += 1
            for part, attribute in self._fields(_part(value)):
                if part == _NODE_ATTRIBUTE:
                    self._attribute(_part(attribute), depth)

    def _attribute(self, data: memoryview, depth: int) -> None:
        for number, value in self._fields(data):
            if number in _ATTRIBUTE_TENSOR:
                self._tensor(_part(value))
            elif number in _ATTRIBUTE_SPARSE:
                self._sparse(_part(value))
            elif number in _ATTRIBUTE_GRAPH:
                self._graph(_part(value), depth + 1)

    def _sparse(self, data: memoryview) -> None:
        for number, value in self._fields(data):
            if number in (1, 2):  # values and indices, both tensors
                self._tensor(_part(value))

    def _tensor(self, data: memoryview) -> None:
        dims: list[int] = []
        kind = 0
        for number, value in self._fields(data):
            if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value):
                raise ModelFileError(
                    'its graph takes weights from another file; expected them inside: import the file again'
                )
            if number == _TENSOR_DIMS:
                dims += [value] if isinstance(value, int) else _varints(value)
            elif number == _TENSOR_TYPE and isinstance(value, int):
                kind = value
        if kind not in _INTEGERS:
            self.facts.n_weights += math.prod(dims)

    def _value(self, data: memoryview) -> tuple[str, list[int | None]]:
        """Name and dimensions of a ValueInfoProto."""
        fields = dict(self._fields(data))
        name = bytes(_part(fields.get(1, b''))).decode(errors='replace')
        dims: list[int | None] = []
        for number, tensor in self._fields(_part(fields.get(2, b''))):
            if number != 1:
                continue
            shape = dict(self._fields(_part(tensor))).get(2, b'')
            for part, dim in self._fields(_part(shape)):
                if part == 1:
                    size = dict(self._fields(_part(dim))).get(1)
                    dims.append(size if isinstance(size, int) else None)
        return name, dims

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of each field; groups, which ONNX does not have, are refused."""
        place = 0
        while place < len(data):
            self._n_fields += 1
            if self._n_fields > _FIELDS_LIMIT:
                raise ModelFileError(f'its graph has more than {_FIELDS_LIMIT} fields; expected fewer')
            key, place = _varint(data, place)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, place = _varint(data, place)
                yield number, value
                continue
            if kind == _BYTES:
                n_bytes, place = _varint(data, place)
            elif kind in _FIXED:
                n_bytes = _FIXED[kind]
            else:
                raise _not_onnx(f'a field of type {kind}')
            if n_bytes > len(data) - place:
                raise _not_onnx(f'a field of {n_bytes} bytes where {len(data) - place} are left')
            yield number, data[place : place + n_bytes]
            place += n_bytes


def _part(value: int | bytes | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _not_onnx('a number in the place of a part')
    return memoryview(value)


def _varints(data: memoryview) -> list[int]:
    values, place = [], 0
    while place < len(data):
        value, place = _varint(data, place)
        values.append(value)
    return values


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the place after it."""
    value = 0
    for position in range(_LONGEST_VARINT):
        if place >= len(data):
            raise _not_onnx('an end within a number')
        byte = data[place]
        place += 1
        value |= (byte & 127) << 7 * position
        if byte < 128:
            return value, place
    raise _not_onnx(f'a number of more than {_LONGEST_VARINT} bytes')


def _not_onnx(reason: str) -> ModelFileError:
    return ModelFileError(f'its graph is not an ONNX model ({reason}): it is damaged; import the file again')
