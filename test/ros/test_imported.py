"""The node with a network of another program."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.msg import ModelInfo

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


def brightest_channel(path: Path) -> None:
    """A graph whose scores are the channels of the image, half as fine."""
    h, kinds = onnx.helper, onnx.TensorProto
    nodes = [h.make_node('AveragePool', ['x'], ['y'], kernel_shape=[2, 2], strides=[2, 2])]
    sides = [('x', [1, 3, 64, 96]), ('y', [1, 3, 32, 48])]
    values = [[h.make_tensor_value_info(name, kinds.FLOAT, shape)] for name, shape in sides]
    made = h.make_model(
        h.make_graph(nodes, 'g', *values), opset_imports=[h.make_opsetid('', 11)], ir_version=6
    )
    onnx.save(made, str(path))


def test_the_node_serves_an_imported_network(robot: Any, tmp_path: Path) -> None:
    from seg_ros.importing.onnx_import import OnnxChoices, import_onnx

    classes = ClassSet(tuple(ClassInfo(i, name, (50 * i, 0, 0)) for i, name in enumerate(('r', 'g', 'b'))))
    brightest_channel(tmp_path / 'net.onnx')
    target = tmp_path / 'mine.safetensors'
    import_onnx(tmp_path / 'net.onnx', target, classes, OnnxChoices(normalisation='unit', licence='MIT'))
    robot.start_active(model=str(target), backend='auto')
    labels, info = (
        robot.listen(Image, '/seg_ros/labels'),
        robot.listen(ModelInfo, '/seg_ros/model_info', robot.LATCHED),
    )
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :32, 0], image[:, 32:64, 1], image[:, 64:, 2] = 200, 100, 150
    robot.camera().publish(robot.message(image))
    robot.wait(lambda: labels and info)
    found = np.asarray(labels[0].data, np.uint8).reshape(64, 96)
    for k, left in enumerate((2, 34, 66)):
        assert (found[:, left : left + 28] == k).all()
    assert (info[0].architecture, info[0].licence) == ('onnx', 'MIT')
    assert info[0].backend in ('onnxruntime', 'openvino')
