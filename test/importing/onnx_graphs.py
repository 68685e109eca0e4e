"""Small ONNX graphs, made node by node, whose labels are known without running anything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

HEIGHT, WIDTH = 64, 96
BRIGHT, LIMIT, DIM = 200, 150, 100


def picture() -> Any:
    """(64, 96, 3) uint8 RGB: bright red and green above, bright blue and dim red below."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:32, :48, 0], image[:32, 48:, 1] = BRIGHT, BRIGHT
    image[32:, :48, 2], image[32:, 48:, 0] = BRIGHT, DIM
    return image


def expected() -> Any:
    """Labels of the picture: 0 where red is above LIMIT, 1 where green is, else 2."""
    labels = np.full((HEIGHT, WIDTH), 2, np.uint8)
    labels[:32, :48], labels[:32, 48:] = 0, 1
    return labels


def inside(labels: Any) -> Any:
    """The four quarters without their borders, which coarse maps blur."""
    parts = [labels[y : y + 16, x : x + 32] for y in (8, 40) for x in (8, 56)]
    return np.stack(parts)


CLASS_FILE = """classes:
  - {id: 0, name: red, colour: [255, 0, 0]}
  - {id: 1, name: green, colour: [0, 255, 0]}
  - {id: 2, name: rest, colour: [0, 0, 255]}
"""


@dataclass
class Kind:
    """A graph that gives the scores red, green and LIMIT, in the normalisation that it expects.

    ``mean`` and ``std`` are on the scale 0..1, for red and green; ``coarse`` = scores of half the size.
    """

    opset: int = 13
    nhwc: bool = False
    dtype: str = 'float32'
    is_free: bool = False
    has_batch: bool = True
    ending: str = 'scores'
    coarse: bool = False
    mean: tuple[float, float] = (0.485, 0.456)
    std: tuple[float, float] = (0.229, 0.224)
    bgr: bool = False
    names: tuple[str, str] = ('input', 'output')


def graph(kind: Kind) -> Any:
    """The ModelProto of a kind."""
    h, kinds = onnx.helper, onnx.TensorProto
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    value = kind.names[0]

    def add(operation: str, *inputs: Any, **attributes: Any) -> str:
        names = []
        for part in inputs:
            if not isinstance(part, str):
                constants[f'c{len(constants)}'] = part
                part = f'c{len(constants) - 1}'
            names.append(part)
        axes = attributes.get('axes')
        if axes is not None and kind.opset >= 13:
            del attributes['axes']
            constants[f'c{len(constants)}'] = np.array(axes, np.int64)
            names.append(f'c{len(constants) - 1}')
        nodes.append(h.make_node(operation, names, [f't{len(nodes)}'], **attributes))
        return f't{len(nodes) - 1}'

    if not kind.has_batch:
        value = add('Unsqueeze', value, axes=[0])
    if kind.nhwc:
        value = add('Transpose', value, perm=[0, 3, 1, 2])
    value = add('Cast', value, to=kinds.FLOAT)
    weights = np.zeros((3, 3, 1, 1), np.float32)
    red = 2 if kind.bgr else 0
    weights[0, red], weights[1, 1] = 1, 1
    # A score above LIMIT in units of the normalised red; green is scaled to the same units.
    weights[1, 1] = kind.std[1] / kind.std[0]
    shift = (kind.mean[1] - kind.mean[0]) / kind.std[0]
    bias = np.float32([0, shift, (LIMIT / 255 - kind.mean[0]) / kind.std[0]])
    value = add('Conv', value, weights, bias)
    if kind.coarse:
        value = add('AveragePool', value, kernel_shape=[2, 2], strides=[2, 2])
    value, of_kind = END[kind.ending](add, value)
    if kind.nhwc and kind.ending in ('scores', 'softmax'):
        value = add('Transpose', value, perm=[0, 2, 3, 1])
    nodes.append(h.make_node('Identity', [value], [kind.names[1]]))
    sides: list[Any] = ['h', 'w'] if kind.is_free else [HEIGHT, WIDTH]
    shape = [*sides, 3] if kind.nhwc else [3, *sides]
    shape = ['n' if kind.is_free else 1, *shape] if kind.has_batch else shape
    dtype = h.np_dtype_to_tensor_dtype(np.dtype(kind.dtype))
    inputs = [h.make_tensor_value_info(kind.names[0], dtype, shape)]
    outputs = [h.make_tensor_value_info(kind.names[1], of_kind, None)]
    tensors = [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
    made = h.make_model(
        h.make_graph(nodes, 'g', inputs, outputs, tensors), opset_imports=[h.make_opsetid('', kind.opset)]
    )
    made.ir_version = 4 if kind.opset < 13 else 10
    return made


def _flat(add: Callable[..., str], value: str) -> tuple[str, int]:
    value = add('Reshape', value, np.array([1, 3, -1], np.int64))
    return add('Transpose', value, perm=[0, 2, 1]), onnx.TensorProto.FLOAT


def _labels(add: Callable[..., str], value: str) -> tuple[str, int]:
    return add('ArgMax', value, axis=1, keepdims=0), onnx.TensorProto.INT64


def _float_labels(add: Callable[..., str], value: str) -> tuple[str, int]:
    return add('Cast', add('ArgMax', value, axis=1, keepdims=1), to=1), onnx.TensorProto.FLOAT


END: dict[str, Callable[..., tuple[str, int]]] = {
    'scores': lambda add, value: (value, onnx.TensorProto.FLOAT),
    'softmax': lambda add, value: (add('Softmax', value, axis=1), onnx.TensorProto.FLOAT),
    'flat': _flat,
    'labels': _labels,
    'float_labels': _float_labels,
}
