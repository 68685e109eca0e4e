"""TensorRT, NVIDIA's own engine, by way of ONNX Runtime, where both are installed.

Building an engine takes minutes; it is kept on disk, and the next start is quick.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from seg_ros._caches import cache_folder
from seg_ros.inference.backends.backend import missing_packages
from seg_ros.inference.backends.onnx_export import EXPORT_PACKAGES, onnx_of
from seg_ros.inference.backends.onnx_runtime import OnnxRuntimeBackend, lacks_provider, number

if TYPE_CHECKING:
    from seg_ros.inference.backends.network_source import NetworkSource

_CUDA = 'CUDAExecutionProvider'
"""Runs the operations that TensorRT has not."""


class TensorRtBackend(OnnxRuntimeBackend):
    """ONNX Runtime on its TensorRT provider; see seg_ros.inference.backends.backend.Backend."""

    provider = 'TensorrtExecutionProvider'

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if computes_in not in ('float32', 'float16'):
            return 'runs fp32 and fp16 only'
        missing = missing_packages((*EXPORT_PACKAGES, 'onnxruntime'), 'onnx')
        return missing or TensorRtBackend.why_not_graph(device)

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        if not device.startswith('cuda'):
            return 'runs on GPUs of NVIDIA only'
        if reason := missing_packages(('onnxruntime',), 'onnx'):
            return reason
        if missing_packages(('tensorrt',), ''):
            return 'needs tensorrt: pip install tensorrt, of the version that onnxruntime-gpu names'
        return lacks_provider(device, TensorRtBackend.provider)

    @staticmethod
    def import_libraries() -> None:
        OnnxRuntimeBackend.import_libraries()
        import tensorrt  # noqa: F401 - loads the libraries that the provider needs

    def _graph(self, source: NetworkSource, input_size: tuple[int, int]) -> bytes:
        """The graph in float32; the engine rounds it."""
        return onnx_of(source, input_size, in_float32=True)

    def _providers(self, graph: bytes, computes_in: str, device: str) -> list[Any]:
        options: dict[str, object] = {
            'device_id': number(device),
            'trt_fp16_enable': computes_in == 'float16',
        }
        folder = cache_folder('tensorrt')
        if folder is not None:
            # ONNX Runtime names engines by the names in the graph alone: another graph needs another folder.
            engines = folder / hashlib.sha256(graph).hexdigest()[:32]
            engines.mkdir(mode=0o700, exist_ok=True)
            options |= {
                'trt_engine_cache_enable': True,
                'trt_engine_cache_path': str(engines),
                'trt_timing_cache_enable': True,
                'trt_timing_cache_path': str(folder),
            }
        return [(self.provider, options), (_CUDA, {'device_id': number(device)})]
