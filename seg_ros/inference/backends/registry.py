"""The inference backends, by name: add one here."""

from seg_ros.inference.backends.backend import Backend
from seg_ros.inference.backends.onnx_runtime import OnnxRuntimeBackend
from seg_ros.inference.backends.torch_compiled import CompiledBackend
from seg_ros.inference.backends.torch_eager import TorchBackend

BACKENDS: dict[str, type[Backend]] = {
    'torch': TorchBackend,
    'torch_compile': CompiledBackend,
    'onnxruntime': OnnxRuntimeBackend,
}
"""What can run a network, by name."""
