"""Target of imported ONNX graphs: their bytes, in a model file with a digest that fits."""

from pathlib import Path

import numpy as np
from target import Target, require

from seg_ros.classes import ClassSet
from seg_ros.modelfile.file import load_model, model_bytes
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.networks.graph_names import ONNX
from seg_ros.networks.onnx_graph import OnnxGraph
from seg_ros.resources import resource

_SIDE = 32


def _number(value: int) -> bytes:
    parts = bytearray()
    while value >= 128:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, value: int | bytes) -> bytes:
    """A field of Protocol Buffers."""
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    return _number(number << 3 | 2) + _number(len(value)) + value


def _value(name: bytes, sizes: list[int]) -> bytes:
    shape = b''.join(_field(1, _field(1, size)) for size in sizes)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _graph(*tensor: bytes) -> bytes:
    """A model of one operation with one weight and one constant."""
    weight = _field(1, 3) + _field(2, 1) + _field(8, b'w') + _field(9, bytes(12)) + b''.join(tensor)
    constant = _field(5, _field(1, b'value') + _field(5, weight))
    node = _field(1, b'images') + _field(2, b'scores') + _field(4, b'Identity') + constant
    ends = _field(11, _value(b'images', [1, _SIDE, _SIDE, 3])) + _field(12, _value(b'scores', [1, 2, 8, 8]))
    graph = _field(1, node) + _field(5, weight) + ends
    return _field(1, 8) + _field(8, _field(2, 17)) + _field(7, graph)


def _seeds() -> list[bytes]:
    return [_graph(), _graph(_field(13, _field(1, b'location') + _field(2, b'/etc/passwd')))]


def _load(data: bytes, folder: Path) -> None:
    classes = ClassSet.from_yaml(resource('config/labels/soccer.yaml'))
    metadata = ModelMetadata(ONNX, classes, (_SIDE, _SIDE), licence='CC0-1.0')
    golden = Golden(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8))
    path = folder / 'model.safetensors'
    path.write_bytes(model_bytes(OnnxGraph(data), metadata, golden))
    model = load_model(path)
    require(model.network.state_dict()['graph'].numpy().tobytes() == data, 'the graph is kept as it is')


TARGETS = {'onnx_graph': Target(_seeds, _load, tokens=[b'images', b'scores', b'\xff' * 9, _field(14, 1)])}
