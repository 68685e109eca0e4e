"""Bytes of an image reach the first 8-bit layer as they are, in graphs where that changes nothing."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from seg_ros.inference.backends.onnx_bytes import pass_bytes
from seg_ros.modelfile.container import read_container
from seg_ros.resources import resource

if missing := [name for name in ('onnx', 'onnxruntime') if find_spec(name) is None]:
    pytest.skip(f'{", ".join(missing)} not installed', allow_module_level=True)

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WIDTH = 100
MEAN, STD = 127.0, 128.0
"""With a first layer from -127/128 to 1 in 255 steps, these give the bytes again."""

SECOND = {
    'images': (TensorProto.UINT8, [1, 256, WIDTH, 3]),
    'normal': (TensorProto.FLOAT, [1, 256, WIDTH * 3]),
    'flat': (TensorProto.FLOAT, [1, 264, WIDTH + 4, 3]),
}
"""Values that more than one operation may read: type and shape."""


def graph(
    *,
    mean: npt.ArrayLike = MEAN,
    step: float = 1 / STD,
    zero: int = 127,
    kind: type = np.uint8,
    also_read: str = 'images',
    pad: str = 'edge',
) -> Any:
    """A graph with the first operations of an export, and with one more reader of ``also_read``."""
    constants = {
        'row': np.array([1, 256, WIDTH * 3]),
        'image': np.array([1, 256, WIDTH, 3]),
        'factor': np.full(WIDTH * 3, 1 / STD, np.float32),
        'summand': np.broadcast_to(-np.asarray(mean, np.float32) / np.float32(STD), (WIDTH, 3)).reshape(-1),
        'axis': np.array([1]),
        'pads': np.array([0, 0, 0, 0, 0, 0, 0, 8, 4, 0]),
        'step': np.float32(step),
        'zero': np.array(zero, kind),
    }
    nodes = [
        helper.make_node('Reshape', ['images', 'row'], ['rows']),
        helper.make_node('Cast', ['rows'], ['floats'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['floats', 'factor'], ['scaled']),
        helper.make_node('Add', ['scaled', 'summand'], ['normal']),
        helper.make_node('Reshape', ['normal', 'image'], ['pixels']),
        helper.make_node('Unsqueeze', ['pixels', 'axis'], ['deeper']),
        helper.make_node('Pad', ['deeper', 'pads'], ['padded'], mode=pad),
        helper.make_node('Squeeze', ['padded', 'axis'], ['flat']),
        helper.make_node('QuantizeLinear', ['flat', 'step', 'zero'], ['bytes']),
        helper.make_node('DequantizeLinear', ['bytes', 'step', 'zero'], ['answer']),
        helper.make_node('Identity', [also_read], ['second']),
    ]
    made = helper.make_graph(
        nodes,
        'first operations',
        [helper.make_tensor_value_info('images', TensorProto.UINT8, [1, 256, WIDTH, 3])],
        [
            helper.make_tensor_value_info('answer', TensorProto.FLOAT, [1, 264, WIDTH + 4, 3]),
            helper.make_tensor_value_info('second', SECOND[also_read][0], SECOND[also_read][1]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info('padded', TensorProto.FLOAT, None)],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)


def answers(model: Any) -> list[npt.NDArray[Any]]:
    """Outputs for an image with every byte in every column and channel."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    image = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, WIDTH, 3))
    return list(session.run(None, {'images': image[None].copy()}))


def test_bytes_pass_where_this_changes_nothing() -> None:
    model = graph()
    before = answers(model)
    assert pass_bytes(model)
    assert [
        node.op_type for node in model.graph.node if node.op_type in {'Mul', 'Add', 'Cast', 'QuantizeLinear'}
    ] == []
    assert {'factor', 'summand'}.isdisjoint(tensor.name for tensor in model.graph.initializer)
    onnx.checker.check_model(model)
    for old, new in zip(before, answers(model), strict=True):
        assert old.shape == new.shape
        assert np.array_equal(old, new)


@pytest.mark.parametrize(
    'other',
    [
        {'step': 1.01 / STD},
        {'zero': 126},
        {'zero': 0, 'kind': np.int8},
        {'mean': [127.0, 127.0, 126.0]},
        {'also_read': 'normal'},
        {'also_read': 'flat'},
    ],
    ids=repr,
)
def test_other_graphs_stay_as_they_are(other: dict[str, Any]) -> None:
    model = graph(**other)
    before = model.SerializeToString()
    assert not pass_bytes(model)
    assert model.SerializeToString() == before


def test_the_shipped_graph_begins_with_bytes() -> None:
    content = bytearray(resource('models/exported/lite_camvid_int8.safetensors').read_bytes())
    container = read_container(content)
    shipped = onnx.load_model_from_string(container.bytes_of('graph'))
    kinds = [node.op_type for node in shipped.graph.node]
    assert not {'Mul', 'QuantizeLinear'} & set(kinds[: kinds.index('Conv')])
