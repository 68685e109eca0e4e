"""Reads an ONNX file, with the weights that it keeps in other files, within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.errors import ModelFileError, UnavailableError
from seg_ros.inference.backends.backend import reason_of
from seg_ros.inference.backends.onnx_runtime import import_onnxruntime
from seg_ros.modelfile.identity import SIZE_LIMIT
from seg_ros.userfiles.reading import shown_path

OPSETS = (8, 30)
"""Oldest and newest version of ONNX's operators that is taken; ONNX Runtime decides between them."""

ROOM = 2**20
"""Number of bytes of a model file beside the graph, at most."""

Outputs = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """Declaration of an input or output.

    Attributes:
        name: Name of the tensor.
        shape: Size along each axis; None for a free one.
        dtype: NumPy dtype; None for what is not a plain tensor.
    """

    name: str
    shape: list[int | None]
    dtype: np.dtype[Any] | None

    def __str__(self) -> str:
        sizes = ', '.join('?' if n is None else str(n) for n in self.shape)
        return f"'{self.name}' ({sizes}) {self.dtype or 'no tensor'}"


class OnnxFile:
    """An ONNX model in memory, which can run.

    Args:
        path: Path of the file, for messages.
        model: The ``ModelProto``, with all weights inside.

    Attributes:
        opset: Version of ONNX's own operators.
        inputs: Declarations of the inputs, without those that are weights.
        outputs: Declarations of the outputs.
    """

    def __init__(self, path: Path, model: Any) -> None:
        self.path, self.model = path, model
        self.opset = _opset(model)
        weights = {tensor.name for tensor in model.graph.initializer}
        weights |= {tensor.values.name for tensor in model.graph.sparse_initializer}
        self.inputs = [_spec(value) for value in model.graph.input if value.name not in weights]
        self.outputs = [_spec(value) for value in model.graph.output]
        self._session: Any = None

    def add_output(self, name: str) -> None:
        """Make an inner tensor an output.

        Raises:
            ModelFileError: No operation gives it.
        """
        made = [result for node in self.model.graph.node for result in node.output]
        if name not in made:
            raise ModelFileError(
                f"{shown_path(self.path)}: no operation gives '{name}'; outputs are "
                f'{", ".join(str(spec) for spec in self.outputs)}: give one of them, or a tensor of the graph'
            )
        value = self.model.graph.output.add()
        value.name = name
        self.outputs.append(TensorSpec(name, [], None))
        self._session = None

    def run(self, name: str, value: npt.NDArray[Any]) -> Outputs:
        """All outputs for one input.

        Raises:
            ModelFileError: ONNX Runtime cannot build or run the graph.
        """
        if self._session is None:
            self._session = session_of(self.model.SerializeToString(), self.path)
        try:
            names = [spec.name for spec in self.outputs]
            return dict(zip(names, self._session.run(names, {name: value}), strict=True))
        except Exception as err:  # ONNX Runtime raises many types
            shape = ', '.join(map(str, value.shape))
            raise ModelFileError(
                f'{shown_path(self.path)} does not run on an input of ({shape}) {value.dtype}: '
                f'{reason_of(err)}'
            ) from err


def session_of(content: bytes, path: Path) -> Any:
    """Session of ONNX Runtime on the CPU.

    Raises:
        ModelFileError: ONNX Runtime cannot build the graph.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, ['CPUExecutionProvider'])
    except Exception as err:  # ONNX Runtime raises many types
        raise ModelFileError(
            f'ONNX Runtime {onnxruntime.__version__} cannot build {shown_path(path)}: {reason_of(err)}; '
            'export it with an older opset, or without operators of its own'
        ) from err


def read_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file with everything that belongs to it.

    Raises:
        ModelFileError: The file is missing, too large, not ONNX, or its weights are missing.
        UnavailableError: A package is missing.
    """
    onnx = _import_onnx()
    where = shown_path(path)
    try:
        n_bytes = path.stat().st_size
        if not path.is_file() or n_bytes > SIZE_LIMIT - ROOM:
            raise ModelFileError(
                f'{where} has {n_bytes} bytes; expected a file of {SIZE_LIMIT - ROOM} at most'
            )
        model = onnx.load(str(path), load_external_data=False)
    except OSError as err:
        raise ModelFileError(f'{where} cannot be read: {err}') from err
    except ModelFileError:
        raise
    except Exception as err:  # protobuf raises many types
        raise ModelFileError(
            f'{where} is not an ONNX file ({reason_of(err)}); expected the file of an exporter, NAME.onnx'
        ) from err
    if not model.graph.node or not model.graph.output:
        raise ModelFileError(f'{where} has no operations or no outputs; expected an exported network')
    _load_weights(onnx, model, path, n_bytes)
    oldest, newest = OPSETS
    file = OnnxFile(path, model)
    if not oldest <= file.opset <= newest:
        raise ModelFileError(
            f'{where} has opset {file.opset}; expected {oldest}..{newest}: export the network again with '
            'opset 17'
        )
    return file


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.external_data_helper

        import_onnxruntime()
    except ImportError as err:
        raise UnavailableError(f"import of ONNX files needs {err.name}: pip install 'seg_ros[onnx]'") from err
    return onnx


def _load_weights(onnx: Any, model: Any, path: Path, n_bytes: int) -> None:
    """Read the weights in other files beside an ONNX file into it."""
    helper = onnx.external_data_helper
    outside = [t for t in helper._get_all_tensors(model) if helper.uses_external_data(t)]
    total, where = n_bytes, shown_path(path)
    for tensor in outside:
        stated = {entry.key: entry.value for entry in tensor.external_data}
        file = path.parent / stated.get('location', '')
        length = stated.get('length', '')
        if not file.is_file():
            raise ModelFileError(
                f'{where} keeps its weights in {shown_path(file)}, which does not exist; put that file '
                'beside it'
            )
        total += int(length) if length.isdecimal() else file.stat().st_size
        if total > SIZE_LIMIT - ROOM:
            raise ModelFileError(
                f'{where} has weights of {total} bytes; expected {SIZE_LIMIT - ROOM} at most'
            )
    if not outside:
        return
    try:
        helper.load_external_data_for_model(model, str(path.parent))
    except Exception as err:  # onnx raises many types, some for paths that lead elsewhere
        raise ModelFileError(f'{where}: its weights cannot be read: {reason_of(err)}') from err


def _opset(model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')]
    return max(versions, default=1)


def _spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    dtype = None
    if value.type.HasField('tensor_type') and tensor.elem_type:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    sizes = [dim.dim_value if dim.HasField('dim_value') else None for dim in tensor.shape.dim]
    # paddle and tf2onnx write -1 and 0 for free axes
    return TensorSpec(value.name, [n if n and n > 0 else None for n in sizes], dtype)
