"""ONNX Runtime: exports the network once, then runs it without a compiler, and without torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from seg_ros._numba import n_cores
from seg_ros.errors import BackendError
from seg_ros.inference.backends.backend import missing_packages
from seg_ros.inference.backends.gpu_memory import GpuImages
from seg_ros.inference.backends.onnx_export import EXPORT_PACKAGES, onnx_of
from seg_ros.networks.graph_names import FREE_SIDES, GRAPH_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from torch import Tensor

    from seg_ros.arrays import Maps, UInt8Array
    from seg_ros.inference.backends.network_source import NetworkSource

_NO_TELEMETRY = ('ORT_DISABLE_TELEMETRY', 'ORT_TELEMETRY_DISABLED')
"""Variables that turn telemetry off; the name depends on the version of ONNX Runtime."""

_ENGINE, _EXTRA = 'onnxruntime', 'onnx'


class OnnxRuntimeBackend:
    """ONNX Runtime on its CPU or CUDA provider; see seg_ros.inference.backends.backend.Backend.

    On a GPU, images and results stay there, as tensors of torch.
    """

    provider = 'CUDAExecutionProvider'
    """Name of the provider for GPUs."""

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
        self._names = list(source.outputs)
        for name, side in zip(FREE_SIDES, input_size, strict=True):  # those of an imported graph
            options.add_free_dimension_override_by_name(name, side)
        graph = self._graph(source, input_size)
        providers = self._providers(graph, source.computes_in, device)
        self._session = onnxruntime.InferenceSession(graph, options, providers)
        self._session.disable_fallback()  # it would go on with the CPU after an error, in silence
        self._on_gpu = None if device == 'cpu' else self._bind(device, input_size)
        self.takes_any_size = self._on_gpu is not None

    @staticmethod
    def why_not(device: str, computes_in: str) -> str | None:
        if reason := missing_packages((*EXPORT_PACKAGES, _ENGINE), _EXTRA):
            return reason
        if computes_in not in ('float32', 'int8'):
            return 'runs fp32 and int8 only'
        if computes_in == 'int8' and device != 'cpu':
            return 'runs int8 on CPUs only'
        return lacks_provider(device, OnnxRuntimeBackend.provider)

    @staticmethod
    def why_not_graph(device: str) -> str | None:
        return missing_packages((_ENGINE,), _EXTRA) or lacks_provider(device, OnnxRuntimeBackend.provider)

    @staticmethod
    def import_libraries() -> None:
        import_onnxruntime()

    def __call__(self, images: UInt8Array, wanted: Collection[str] | None = None) -> dict[str, Maps]:
        """Run the network; see seg_ros.inference.backends.backend.Backend."""
        if self._on_gpu:
            return self._on_gpu(images)
        return dict(zip(self._names, self._session.run(self._names, {GRAPH_INPUT: images}), strict=True))

    def _graph(self, source: NetworkSource, input_size: tuple[int, int]) -> bytes:
        """The graph to run."""
        return onnx_of(source, input_size)

    def _providers(self, graph: bytes, computes_in: str, device: str) -> list[Any]:
        """Providers to run a graph with, the best one first."""
        if device == 'cpu':
            return ['CPUExecutionProvider']
        return [(self.provider, {'device_id': number(device)})]

    def _bind(self, device: str, input_size: tuple[int, int]) -> GpuSession:
        """The session with images and results on a GPU.

        Raises:
            BackendError: ONNX Runtime has fallen back to the CPU.
        """
        used = self._session.get_providers()
        if self.provider not in used:
            raise BackendError(
                f'{self.provider} of ONNX Runtime could not start, perhaps for want of a library of NVIDIA; '
                f'instead of it there are {", ".join(used)}'
            )
        return GpuSession(self._session, self._names, device, input_size)


class GpuSession:
    """Runs a session of ONNX Runtime on images and results that are tensors of torch.

    Args:
        session: The session.
        names: Names of the outputs.
        device: Device of images and results, 'cuda:N'; 'cpu' works too.
        input_size: (height, width) of the input in pixels.
    """

    def __init__(self, session: Any, names: list[str], device: str, input_size: tuple[int, int]) -> None:
        import torch

        self._session, self._device = session, torch.device(device)
        self._images = GpuImages(self._device, input_size)
        blank = np.zeros((1, *input_size, 3), np.uint8)
        self._outputs = dict(zip(names, session.run(names, {GRAPH_INPUT: blank}), strict=True))

    def __call__(self, images: UInt8Array) -> dict[str, Maps]:
        """Outputs by name for an image (1, H, W, 3) uint8 of any size."""
        import torch

        tensor, binding = self._images(images), self._session.io_binding()
        results: dict[str, Maps] = {}
        _bind(binding.bind_input, GRAPH_INPUT, tensor, np.uint8)
        for name, example in self._outputs.items():
            result = torch.empty_like(torch.from_numpy(example), device=self._device)
            _bind(binding.bind_output, name, result, example.dtype.type)
            results[name] = result
        if self._device.type != 'cpu':
            torch.cuda.current_stream(self._device).synchronize()  # the session has a stream of its own
        self._session.run_with_iobinding(binding)  # waits until the results are there
        return results


def _bind(bind: Callable[..., None], name: str, tensor: Tensor, kind: type[np.generic]) -> None:
    """Bind an input or output of a session to the memory of a tensor."""
    device = tensor.device
    bind(name, device.type, device.index or 0, kind, tuple(tensor.shape), tensor.data_ptr())


def number(device: str) -> int:
    """Number of a GPU, such as 1 for 'cuda:1'."""
    return int(device.rpartition(':')[2])


def lacks_provider(device: str, provider: str) -> str | None:
    """Reason why ONNX Runtime has no provider for a device; None if it has."""
    if device == 'cpu' or provider in import_onnxruntime().get_available_providers():
        return None
    return f'has no {provider} here: pip uninstall onnxruntime, then pip install onnxruntime-gpu'


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
