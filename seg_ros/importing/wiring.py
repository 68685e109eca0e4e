"""Puts a foreign graph between a standard input and a standard output.

Before: any input and output. After: ``images`` (1, H, W, 3) uint8 RGB to ``scores`` (1, K, h, w) float32. So
every backend runs every imported graph alike. The added operations exist in each opset from 8 on.

Softmax of the scores gives the probabilities of the graph: scores of probabilities are their logarithms, a
single channel x of two classes becomes 0 and x, and a label becomes a large score of its class. A label
without a class gives scores that are not numbers, which mean "unlabelled".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.importing.graph_input import GraphInput
from seg_ros.importing.graph_output import GraphOutput
from seg_ros.importing.onnx_file import OnnxFile
from seg_ros.networks.graph_names import FREE_SIDES, GRAPH_INPUT, GRAPH_OUTPUT
from seg_ros.networks.normalisation import Normalisation

_PREFIX = 'seg_ros/'
_LEAST_PROBABILITY = 1e-7
_LABEL_SCORE = 20.0
_AXES_AS_INPUT = {'Squeeze': 13, 'Unsqueeze': 13, 'ReduceMax': 18}
"""Operations that take their axes as an input, from this opset on."""


def wired(
    file: OnnxFile, graph_input: GraphInput, output: GraphOutput, normalisation: Normalisation, n_classes: int
) -> bytes:
    """Bytes of a graph from ``images`` to ``scores``; see seg_ros.networks.onnx_graph.

    Args:
        file: The graph; not changed.
        graph_input: Its input.
        output: Its output.
        normalisation: Normalisation of the input.
        n_classes: Number of classes.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    _free_names(model.graph, {GRAPH_INPUT, GRAPH_OUTPUT})
    renamed = {GRAPH_INPUT: _PREFIX + GRAPH_INPUT, GRAPH_OUTPUT: _PREFIX + GRAPH_OUTPUT}
    before, after = _Nodes(file.opset), _Nodes(file.opset)
    last = _normalised(before, graph_input, normalisation)
    before.add('Identity', last, result=renamed.get(graph_input.spec.name, graph_input.spec.name))
    last = _as_scores(after, output, renamed.get(output.name, output.name), n_classes)
    after.add('Identity', last, result=GRAPH_OUTPUT)
    nodes = [*before.nodes, *model.graph.node, *after.nodes]
    del model.graph.node[:], model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*before.constants, *after.constants])
    is_free = graph_input.is_free and 'p' not in output.axes
    sides: Sequence[Any] = FREE_SIDES if is_free else graph_input.size
    helper, kinds = onnx.helper, onnx.TensorProto
    model.graph.input.append(helper.make_tensor_value_info(GRAPH_INPUT, kinds.UINT8, [1, *sides, 3]))
    shape = [1, n_classes, None, None]
    model.graph.output.append(helper.make_tensor_value_info(GRAPH_OUTPUT, kinds.FLOAT, shape))
    model.ir_version = max(model.ir_version, 4)  # older ones count weights as inputs
    return bytes(model.SerializeToString())


class _Nodes:
    """A chain of operations with constants.

    Args:
        opset: Version of ONNX's operators.
    """

    _count = 0

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str | npt.NDArray[Any], result: str = '', **attributes: Any) -> str:
        """Add an operation; arrays among its inputs become constants. Returns the name of its result."""
        import onnx

        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        axes = attributes.get('axes')
        if axes is not None and self.opset >= _AXES_AS_INPUT[kind]:
            del attributes['axes']
            names.append(self._constant(np.array(axes, np.int64)))
        result = result or self._name()
        self.nodes.append(onnx.helper.make_node(kind, names, [result], name=self._name(), **attributes))
        return result

    def cast(self, value: str, dtype: str) -> str:
        """Add a conversion to a NumPy dtype."""
        import onnx

        return self.add('Cast', value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _constant(self, value: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), self._name()))
        return str(self.constants[-1].name)

    def _name(self) -> str:
        _Nodes._count += 1
        return f'{_PREFIX}{_Nodes._count}'


def _normalised(nodes: _Nodes, graph_input: GraphInput, normalisation: Normalisation) -> str:
    """Operations from the image to the input of the graph."""
    value: str = GRAPH_INPUT
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    scale, offset = 1 / (255 * std), -mean / std
    if normalisation.channel_order == 'bgr':
        value = nodes.add('Gather', value, np.array([2, 1, 0], np.int64), axis=3)
    dtype = (graph_input.spec.dtype or np.dtype(np.float32)).name
    is_raw = np.allclose(scale, 1) and not offset.any()
    if dtype != 'uint8' or not is_raw:
        value = nodes.cast(value, 'float32')
    if not is_raw:
        value = nodes.add('Mul', value, scale.astype(np.float32))
        if offset.any():
            value = nodes.add('Add', value, offset.astype(np.float32))
    if graph_input.layout == 'nchw':
        value = nodes.add('Transpose', value, perm=[0, 3, 1, 2])
    if dtype != ('uint8' if is_raw and dtype == 'uint8' else 'float32'):
        value = nodes.cast(value, dtype)
    if not graph_input.has_batch:
        value = nodes.add('Squeeze', value, axes=[0])
    return value


def _as_scores(nodes: _Nodes, output: GraphOutput, name: str, n_classes: int) -> str:
    """Operations from the output of the graph to scores (1, K, h, w)."""
    value = nodes.cast(name, 'int64' if output.meaning == 'labels' else 'float32')
    value = _as_nchw(nodes, value, output)
    if output.meaning == 'labels':
        return _scores_of_labels(nodes, value, n_classes)
    if output.meaning == 'probabilities':
        value = _log(nodes, value)
    if output.n_channels == n_classes:
        return value
    if output.meaning == 'probabilities':  # of the second class: log p, so log (1 - p) is the other one
        other = nodes.add('Sub', np.ones(1, np.float32), nodes.add('Exp', value))
        return nodes.add('Concat', _log(nodes, other), value, axis=1)
    return nodes.add('Concat', nodes.add('Sub', value, value), value, axis=1)


def _as_nchw(nodes: _Nodes, value: str, output: GraphOutput) -> str:
    """Bring a map to the axes N, K, H, W."""
    axes, size = output.axes, output.size
    for position, missing in ((0, 'n'), (1, 'k')):
        if missing not in axes:
            value = nodes.add('Unsqueeze', value, axes=[position])
            axes = axes[:position] + missing + axes[position:]
    wanted = 'nkp' if 'p' in axes else 'nkhw'
    if axes != wanted:
        value = nodes.add('Transpose', value, perm=[axes.index(axis) for axis in wanted])
    if 'p' in axes:
        value = nodes.add('Reshape', value, np.array([1, output.n_channels, *size], np.int64))
    return value


def _log(nodes: _Nodes, value: str) -> str:
    return nodes.add('Log', nodes.add('Max', value, np.full(1, _LEAST_PROBABILITY, np.float32)))


def _scores_of_labels(nodes: _Nodes, value: str, n_classes: int) -> str:
    """(1, 1, h, w) int64 labels to scores; all are NaN where no class has the label."""
    ids = np.arange(n_classes, dtype=np.int64).reshape(1, -1, 1, 1)
    is_class = nodes.cast(nodes.add('Equal', value, ids), 'float32')
    has_class = nodes.add('ReduceMax', is_class, axes=[1], keepdims=1)
    return nodes.add('Div', nodes.add('Mul', is_class, np.full(1, _LABEL_SCORE, np.float32)), has_class)


def _free_names(graph: Any, taken: set[str]) -> None:
    """Rename the tensors of a graph and of those inside it that have one of the names ``taken``."""

    def freed(names: Any) -> None:
        for position, name in enumerate(names):
            if name in taken:
                names[position] = _PREFIX + name

    for node in graph.node:
        freed(node.input)
        freed(node.output)
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField('g') else []), *attribute.graphs]:
                _free_names(inner, taken)
    for tensor in [*graph.initializer, *graph.input, *graph.output]:
        if tensor.name in taken:
            tensor.name = _PREFIX + tensor.name
