"""Inference backends, by name: add one here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seg_ros.errors import LazyTable

if TYPE_CHECKING:
    from seg_ros.inference.backends.backend import Backend

BACKENDS: LazyTable[type[Backend]] = LazyTable(
    {
        'torch': 'seg_ros.inference.backends.torch_eager:TorchBackend',
        'torch_compile': 'seg_ros.inference.backends.torch_compiled:CompiledBackend',
        'cuda_graph': 'seg_ros.inference.backends.cuda_graph:CudaGraphBackend',
        'onnxruntime': 'seg_ros.inference.backends.onnx_runtime:OnnxRuntimeBackend',
        'openvino': 'seg_ros.inference.backends.openvino_engine:OpenVinoBackend',
        'tensorrt': 'seg_ros.inference.backends.tensorrt:TensorRtBackend',
    }
)
"""Classes that satisfy the protocol seg_ros.inference.backends.backend.Backend."""
