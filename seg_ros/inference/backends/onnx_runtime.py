"""ONNX Runtime: exports the network once, then runs it without a compiler, and without torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from seg_ros._numba import n_cores
from seg_ros.inference.backends.backend import missing_packages
from seg_ros.inference.backends.onnx_export import EXPORT_PACKAGES, onnx_of
from seg_ros.networks.graph_names import FREE_SIDES, GRAPH_INPUT

if TYPE_CHECKING:
    from collections.abc import Collection

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

_NO_TELEMETRY = ('ORT_DISABLE_TELEMETRY', 'ORT_TELEMETRY_DISABLED')
"""Variables that turn telemetry off; the name depends on the version of ONNX Runtime."""

_ENGINE, _EXTRA = 'onnxruntime', 'onnx'


class OnnxRuntimeBackend:
    """ONNX Runtime on its CPU or CUDA provider; see seg_ros.inference.backends.backend.Backend."""

    def __init__(
        self, source: NetworkSource, input_size: tuple[int, int], device: str, n_threads: int
    ) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        # Its own number, 0, is that of the computer's cores, which may be more than this process may use.
        options.intra_op_num_threads = n_threads or (n_cores() if n_cores() < (os.cpu_count() or 1) else 0)
        options.log_severity_level = 3
        # Otherwise its threads keep spinning while labels are computed.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        provider: str | tuple[str, dict[str, int]] = 'CPUExecutionProvider'
        if device != 'cpu':
            provider = ('CUDAExecutionProvider', {'device_id': int(device.rpartition(':')[2])})
        self._names = list(source.outputs)
        for name, side in zip(FREE_SIDES, input_size, strict=True):  # those of an imported graph
            options.add_free_dimension_override_by_name(name, side)
        self._session = onnxruntime.InferenceSession(onnx_of(source, input_size), options, [provider])

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if reason := missing_packages((*EXPORT_PACKAGES, _ENGINE), _EXTRA):
            return reason
        if computes_in not in ('float32', 'int8'):
            return 'runs fp32 and int8 only'
        if computes_in == 'int8' and device != 'cpu':
            return 'runs int8 on CPUs only'
        return _lacks_provider(device)

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        return missing_packages((_ENGINE,), _EXTRA) or _lacks_provider(device)

    @staticmethod
    def import_libraries() -> None:
        import_onnxruntime()

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see seg_ros.inference.backends.backend.Backend."""
        return dict(zip(self._names, self._session.run(self._names, {GRAPH_INPUT: images}), strict=True))


def _lacks_provider(device: str) -> str | None:
    if device != 'cpu':
        onnxruntime = import_onnxruntime()
        if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
            return 'has no CUDA provider here: pip install onnxruntime-gpu'
    return None


def import_onnxruntime() -> Any:
    """The package onnxruntime, which sends nothing home.

    Its official builds report each session to the maker, and store an identifier of the computer and a queue
    in the cache folder of the user, unless a variable is set before the library is loaded.
    """
    for name in _NO_TELEMETRY:
        os.environ.setdefault(name, '1')
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime
