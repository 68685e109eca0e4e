"""OpenVINO: runs the exported network on CPUs, without a compiler, in integers where the graph has them.

A network is exported to ONNX once. OpenVINO makes its own graph of that, which is kept on disk too, so that
later starts take a fraction of a second.
"""

from __future__ import annotations

import io
import logging
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros._caches import is_kept
from seg_ros._numba import hidden, n_cores
from seg_ros.inference.backends.backend import check_images, missing_packages
from seg_ros.inference.backends.graph_cache import graph_key, recall_graph, remember_graph
from seg_ros.inference.backends.onnx_export import EXPORT_PACKAGES, onnx_of
from seg_ros.inference.backends.openvino_graph import FOLDED, fold, prefer_vectors, sum_in_blocks
from seg_ros.inference.backends.signal_stack import kept_signal_stack
from seg_ros.inference.memory import return_freed_memory, return_unused_code
from seg_ros.networks.graph_names import CODES, EMBEDDINGS, GRAPH_INPUT, GRAPH_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Collection

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

log = logging.getLogger(__name__)

_ENGINE, _EXTRA = 'openvino', 'openvino'
_TELEMETRY = 'openvino_telemetry'
_N_MAP_AXES = 4  # labels have 3
_PRECISIONS = {'float32': 'f32', 'bfloat16': 'bf16', 'float16': 'f16', 'int8': 'f32'}
_N_TO_FREE = 100
"""Number of frames without codes after which the graph with codes is freed."""

_MAKING = threading.Lock()
_CAPABILITIES = {'bfloat16': 'BF16', 'float16': 'FP16'}
"""Dtypes that not every processor computes in -> OpenVINO's name of the capability."""


class OpenVinoBackend:
    """OpenVINO on the CPU; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        openvino = import_openvino()
        options = {
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': '1',
            'INFERENCE_NUM_THREADS': str(n_threads or n_cores()),
            'INFERENCE_PRECISION_HINT': _precision(source),  # its own choice depends on the processor
            'ENABLE_CPU_PINNING': 'NO',  # other programs of a robot need the cores too
        }
        self._shape = (1, *input_size, 3)

        def made(outputs: tuple[str, ...]) -> _CompiledGraph:
            compiled = _compiled(openvino, source, outputs, input_size, options)
            return _CompiledGraph(openvino, compiled, outputs)

        # Codes take a fifth of the time, and most robots do not ask for segments.
        fewer = tuple(name for name in source.outputs if name != CODES)
        self._make_all = partial(made, source.outputs)
        self._all: _CompiledGraph | None = self._make_all()
        self._without_codes = made(fewer) if fewer and fewer != source.outputs else self._all
        self._is_kept, self._n_without_codes = bool(source.identity) and is_kept(), 0

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        reason = missing_packages((_ENGINE, *EXPORT_PACKAGES), _EXTRA) or _needs_cpu(device)
        if reason:
            return reason
        needed = _CAPABILITIES.get(computes_in)
        if needed and needed not in _capabilities():
            return f'computes in {needed.lower()} where the processor has instructions for it only'
        return None

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        return missing_packages((_ENGINE,), _EXTRA) or _needs_cpu(device)

    @staticmethod
    def import_libraries() -> None:
        import_openvino()

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see seg_ros.inference.backends.backend.Backend.

        The engine reads the images where they are, and writes into arrays that are new for each call.

        Raises:
            ImageError: The images differ in shape or type from those that the network was built for.
        """
        check_images(images, self._shape)
        if wanted is not None and CODES not in wanted:
            self._n_without_codes += 1
            if self._n_without_codes == _N_TO_FREE and self._is_kept:
                self._free_rest()
            return self._without_codes(images)
        self._n_without_codes = 0
        if self._all is None:
            self._all = self._make_all()
            return_unused_code()  # of the compiler
        return self._all(images)

    def _free_rest(self) -> None:
        """Free the graph with codes, 40 MB, which is made again from disk in a tenth of a second."""
        if self._all is not self._without_codes:
            self._all = None
            return_freed_memory()


class _CompiledGraph:
    """Runs one compiled graph.

    Args:
        openvino: The package.
        compiled: The graph.
        outputs: Names of its outputs.
    """

    def __init__(self, openvino: Any, compiled: Any, outputs: tuple[str, ...]) -> None:
        self._shapes = {name: tuple(compiled.output(name).shape) for name in outputs}
        self._by_pixel = len(self._shapes.get(GRAPH_OUTPUT, ())) == _N_MAP_AXES
        self._is_folded = any(FOLDED in output.get_names() for output in compiled.outputs)
        self._request, self._tensor = compiled.create_infer_request(), openvino.Tensor
        self._bound: tuple[object, ...] = ()

    def __call__(self, images: UInt8Array) -> dict[str, Maps]:
        """Outputs of the graph by name."""
        answers = {name: np.empty(shape, np.float32) for name, shape in self._shapes.items()}
        for name, array in ((GRAPH_INPUT, images), *answers.items()):
            self._request.set_tensor(name, self._tensor(array, shared_memory=True))
        # Not infer(inputs): it would copy them into the tensor that is set, the images of the caller before.
        self._request.start_async()
        self._request.wait()
        self._bound = images, answers  # the request refers to their memory until the next call
        maps: dict[str, Maps] = dict(answers)
        if self._is_folded:
            batch, height, width, n_values = self._shapes[GRAPH_OUTPUT]
            blocks = answers[GRAPH_OUTPUT].reshape(batch, height, width, n_values // 4, 2, 2)
            maps[GRAPH_OUTPUT] = blocks.transpose(0, 3, 1, 4, 2, 5)
        elif self._by_pixel:
            maps[GRAPH_OUTPUT] = answers[GRAPH_OUTPUT].transpose(0, 3, 1, 2)
        return maps


def import_openvino() -> Any:
    """The package openvino, which sends nothing home.

    Importing it reports to the maker, and stores an identifier of the computer in the home folder, unless the
    package openvino_telemetry cannot be imported.
    """
    with hidden(_TELEMETRY):
        import openvino
    return openvino


def _needs_cpu(device: str) -> str | None:
    return None if device == 'cpu' else 'runs on CPUs only'


@cache
def _capabilities() -> tuple[str, ...]:
    """Kinds of numbers that OpenVINO computes in on this processor."""
    return tuple(_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'))


def _core() -> Any:
    """The engine, one for the process."""
    with _MAKING:
        return _made_core()


@cache
def _made_core() -> Any:
    with kept_signal_stack():
        core = import_openvino().Core()
        core.get_property('CPU', 'FULL_DEVICE_NAME')  # loads what is for CPUs
    return core


def _precision(source: NetworkSource) -> str:
    """OpenVINO's name of the precision of float operations.

    As in ``torch_compiled``, the float operations of an 8-bit network compute in bfloat16 if they have work.
    """
    if source.has_float_work and 'BF16' in _capabilities():
        return _PRECISIONS['bfloat16']
    return _PRECISIONS[source.computes_in]


def _compiled(
    openvino: Any,
    source: NetworkSource,
    outputs: tuple[str, ...],
    input_size: tuple[int, int],
    options: dict[str, str],
) -> Any:
    """The engine's graph of some outputs of a network: kept on disk, or made now."""
    core = _core()
    facts = core.get_property('CPU', 'FULL_DEVICE_NAME'), _capabilities(), openvino.get_version()
    key = graph_key('openvino', source.identity, outputs, input_size, sorted(options.items()), facts)
    known = recall_graph(key) if source.identity else None
    if known is not None:
        try:
            return core.import_model(io.BytesIO(known), 'CPU', options)
        except RuntimeError as err:
            log.warning('a kept graph of OpenVINO cannot be used, and is made anew: %s', err)
    compiled = core.compile_model(_model(openvino, core, source, outputs, input_size), 'CPU', options)
    if source.identity:
        content = compiled.export_model()
        remember_graph(key, content if isinstance(content, bytes) else content.getvalue())
    return compiled


def _model(
    openvino: Any, core: Any, source: NetworkSource, outputs: tuple[str, ...], input_size: tuple[int, int]
) -> Any:
    """OpenVINO's model of a network, whose scores lie pixel by pixel in memory, as the engine has them.

    Its weights are rounded, but in float32: the engine rounds values itself.
    """
    model = core.read_model(onnx_of(source, input_size, in_float32=True, may_have_more=True))
    if len(model.outputs) > len(outputs):
        wanted = [model.output(name) for name in outputs]
        model = openvino.Model(wanted, model.get_parameters())
    if model.input(GRAPH_INPUT).partial_shape.is_dynamic:  # an imported graph for images of any size
        model.reshape({GRAPH_INPUT: [1, *input_size, 3]})
    if source.computes_in == 'int8':
        sum_in_blocks(openvino, model)
    if GRAPH_OUTPUT in outputs and EMBEDDINGS not in outputs:  # whose filter needs them sorted
        fold(openvino, model, GRAPH_OUTPUT)
    if GRAPH_OUTPUT in outputs and len(model.output(GRAPH_OUTPUT).partial_shape) == _N_MAP_AXES:
        editor = openvino.preprocess.PrePostProcessor(model)
        scores = editor.output(GRAPH_OUTPUT)
        scores.model().set_layout(openvino.Layout('NCHW'))
        scores.tensor().set_layout(openvino.Layout('NHWC'))
        model = editor.build()
    return prefer_vectors(openvino, core, model) if source.computes_in == 'int8' else model
