"""The way of a frame on a GPU: what a CPU can do of it runs everywhere, the rest where there is a GPU."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seg_ros.arrays import UInt8Array, moved_to_memory
from seg_ros.errors import BackendError, UnavailableError
from seg_ros.images.interpolation import area_matrix, linear_matrix
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.backends import onnx_runtime, select, tensorrt
from seg_ros.inference.backends.backend import GuardedBackend, guarded
from seg_ros.inference.backends.cuda_graph import CudaGraphBackend
from seg_ros.inference.backends.gpu_memory import GpuImages, to_memory, wait_for_gpu
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.onnx_runtime import GpuSession, OnnxRuntimeBackend
from seg_ros.inference.backends.select import choose_level
from seg_ros.inference.backends.tensorrt import TensorRtBackend
from seg_ros.inference.backends.torch_compiled import CompiledBackend
from seg_ros.inference.backends.torch_eager import TorchBackend
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings
from seg_ros.inference.torch_argmax import argmax_labels_in_torch
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.shipped import SHIPPED
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive

CPU = torch.device('cpu')
SIZE = (36, 48)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ('onnxruntime', 'onnx', 'onnxscript')),
    reason='ONNX Runtime is not installed',
)


def photograph(height: int, width: int) -> UInt8Array:
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5), np.uint8)


def small() -> FrameNetwork:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    return FrameNetwork(ImageNetwork(network, Normalisation())).eval()


def on_gpu_manner(segmenter: Segmenter) -> Segmenter:
    """The segmenter with its network in plain PyTorch, given images as a GPU is, on the CPU."""
    source = NetworkSource.of_model(
        ModelSource(Settings(model=str(segmenter.model.path))), 'fp32', with_embeddings=False
    )
    backend = TorchBackend(source, segmenter.input_size, 'cpu', 0)
    backend._gpu_images = GpuImages(CPU, segmenter.input_size)
    backend.takes_any_size = True
    return replace(segmenter, backend=GuardedBackend('torch', backend))


@pytest.mark.parametrize(
    'size',
    [(480, 640), (720, 1280), (1080, 1920), (361, 479), (100, 120), (800, 300), (36, 48), (40, 4000), (1, 1)],
)
def test_images_are_resized_as_on_the_cpu(size: tuple[int, int]) -> None:
    image, target = photograph(*size), (90, 120)
    got = GpuImages(CPU, target)(image[None]).numpy()[0]
    want = resize_image(image, *target)
    assert got.shape == want.shape
    assert got.dtype == np.uint8
    # OpenCV interpolates with weights of 11 bits
    assert np.abs(got.astype(int) - want).max() <= 1
    assert (got == want).mean() > 0.8


def test_the_matrices_are_means() -> None:
    for matrix in (linear_matrix(7, 5), linear_matrix(5, 7), area_matrix(17, 5), area_matrix(6, 3)):
        assert matrix.dtype == np.float32
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(area_matrix(6, 3)[1], [0, 0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(area_matrix(5, 2)[0], [0.4, 0.4, 0.2, 0, 0], rtol=1e-6)
    x = torch.rand(1, 1, 7)
    want = torch.nn.functional.interpolate(x, 12, mode='linear')[0, 0].numpy()
    np.testing.assert_allclose(linear_matrix(7, 12) @ x[0, 0].numpy(), want, atol=1e-6)


def test_matrices_of_few_sizes_are_kept() -> None:
    images = GpuImages(CPU, (8, 8))
    for width in range(20, 60):
        images(photograph(20, width)[None])
    assert len(images._matrices) <= 8


def test_an_image_is_copied() -> None:
    image = photograph(*SIZE)[None]
    got = GpuImages(CPU, SIZE)(image)
    before = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(got.numpy(), before)


def test_a_view_that_is_read_only_is_taken() -> None:
    image = photograph(72, 96)
    view = image[:, ::-1]
    view.flags.writeable = False
    for size in ((36, 48), (72, 96)):
        got = GpuImages(CPU, size)(view[None]).numpy()
        np.testing.assert_array_equal(got, GpuImages(CPU, size)(view.copy()[None]).numpy())


def test_bytes_come_back() -> None:
    one, other = torch.arange(6, dtype=torch.uint8).view(2, 3), torch.full((4,), 9, dtype=torch.uint8)
    arrays = to_memory(one, other)
    np.testing.assert_array_equal(arrays[0], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays[1], [9] * 4)
    wait_for_gpu({})
    wait_for_gpu({'scores': np.zeros(3, np.float32)})
    wait_for_gpu({'scores': torch.zeros(3)})


def test_a_frame_resized_by_the_backend_gets_the_same_labels() -> None:
    plain = Segmenter.load(Settings(model='lite_camvid', backend='torch', device='cpu'))
    segmenter = on_gpu_manner(plain)
    for size in ((480, 640), (720, 1280), (360, 480)):
        image = RenderedDrive(2, 1, *size)[0][0]
        got, want = segmenter(image, confidence=True), plain(image, confidence=True)
        assert got.labels.shape == size
        assert (got.labels == want.labels).mean() > 0.995
        assert got.confidence is not None
        assert want.confidence is not None
        assert np.abs(got.confidence.astype(int) - want.confidence).mean() < 1


def test_segments_are_found_in_the_image_that_the_cpu_resized() -> None:
    plain = Segmenter.load(Settings(model='lite_camvid', backend='torch', device='cpu'))
    segmenter, image = on_gpu_manner(plain), RenderedDrive(3, 1, 480, 640)[0][0]
    for changes in ({'segments': True}, {'segments': True, 'refinement': 1.0}, {'refinement': 1.0}):
        got, want = segmenter(image, **changes), plain(image, **changes)
        np.testing.assert_array_equal(got.labels, want.labels)
        if want.segments:
            assert got.segments is not None
            np.testing.assert_array_equal(got.segments.regions.ids, want.segments.regions.ids)
            np.testing.assert_array_equal(got.segments.codes, want.segments.codes)


def test_labels_in_torch_are_those_of_the_cpu() -> None:
    scores = torch.randn(11, *SIZE)
    got = argmax_labels_in_torch(scores, 72, 96, with_confidence=True, confidence_threshold=0.4)
    want = argmax_labels(scores.numpy(), 72, 96, with_confidence=True, confidence_threshold=0.4)
    assert (got.labels == want.labels).mean() > 0.999
    assert got.confidence is not None
    assert want.confidence is not None
    assert np.abs(got.confidence.astype(int) - want.confidence).max() <= 1


@pytest.mark.parametrize('name', ['lite_camvid_int8', 'enet_camvid_int8', 'segnet_camvid_int8'])
def test_integers_run_in_half_precision_on_a_gpu(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = load_model(resource(f'models/{name}.safetensors'))
    assert choose_level(model, 'auto', 'auto', 'cuda:0') == 'fp16'
    assert 'it runs at fp16 instead' in caplog.text
    assert choose_level(model, 'fp32', 'auto', 'cuda:0') == 'fp32'


def test_reasons_are_told() -> None:
    assert CudaGraphBackend.why_not('cpu', 'float32') == 'runs on GPUs of NVIDIA only'
    assert 'take fp16' in str(CudaGraphBackend.why_not('cuda:0', 'int8'))
    assert CudaGraphBackend.why_not('cuda:0', 'float16') is None
    assert TensorRtBackend.why_not('cuda:0', 'int8') == 'runs fp32 and fp16 only'
    assert CompiledBackend.why_not('cuda:0', 'int8') == 'has 8-bit convolutions for CPUs only'
    with pytest.raises(UnavailableError, match=r'cuda_graph.*runs on GPUs of NVIDIA only; available: auto'):
        Segmenter.load(Settings(model='lite_camvid', backend='cuda_graph', device='cpu'))


@needs_onnx
def test_reasons_of_onnx_runtime_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TensorRtBackend.why_not('cpu', 'float32') == 'runs on GPUs of NVIDIA only'
    if find_spec('tensorrt') is None:
        assert 'pip install tensorrt' in str(TensorRtBackend.why_not('cuda:0', 'float32'))
    monkeypatch.setattr(tensorrt, 'missing_packages', lambda packages, extra: None)
    monkeypatch.setattr(onnx_runtime, 'import_onnxruntime', lambda: Providers('CUDAExecutionProvider'))
    assert OnnxRuntimeBackend.why_not('cuda:0', 'float32') is None
    assert 'has no TensorrtExecutionProvider here' in str(TensorRtBackend.why_not('cuda:0', 'float16'))
    monkeypatch.setattr(onnx_runtime, 'import_onnxruntime', lambda: Providers('CPUExecutionProvider'))
    assert 'pip install onnxruntime-gpu' in str(OnnxRuntimeBackend.why_not('cuda:0', 'float32'))


class Providers:
    """The part of the package onnxruntime that lists its providers."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def get_available_providers(self) -> list[str]:
        return self._names


class NoCopies(TorchFunctionMode):
    """Refuses what a CUDA graph cannot record: constants from memory, and results that are waited for."""

    refused = frozenset(
        [torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.item, Tensor.cpu, Tensor.tolist]
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in self.refused, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('name', list(SHIPPED))
def test_networks_do_nothing_that_cannot_be_recorded(name: str) -> None:
    served = ModelSource(Settings(model=name)).served
    if not served.metadata.classes or 'segments' in name:
        pytest.skip('it has no scores')
    source = NetworkSource.of_model(
        ModelSource(Settings(model=name)), 'fp16', with_embeddings=served.metadata.embeddings is not None
    )
    network = source.build().to('meta')  # a device of its own kind, without numbers
    height, width = served.input_size
    with torch.no_grad(), NoCopies():
        answers = network(torch.zeros(1, height, width, 3, dtype=torch.uint8, device='meta'))
    assert {answer.device.type for answer in answers.values()} == {'meta'}


def test_a_gpu_that_no_backend_uses_leaves_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip('openvino')
    monkeypatch.setattr(select, 'choose_device', lambda name: 'cuda:0' if name == 'auto' else name)
    segmenter = Segmenter.load(Settings(model='lite_camvid_int8', backend='openvino'))
    assert (segmenter.device, segmenter.quantization) == ('cpu', 'int8')
    assert "backend 'openvino' does not run" in caplog.text
    with pytest.raises(UnavailableError, match='on cuda:0'):
        Segmenter.load(Settings(model='lite_camvid_int8', backend='openvino', device='cuda:0'))


def test_errors_of_a_gpu_become_ours() -> None:
    with pytest.raises(BackendError, match='cuda:0 failed: RuntimeError: out of memory'), guarded('cuda:0'):
        raise RuntimeError('out of memory')
    with pytest.raises(UnavailableError), guarded('cuda:0'):
        raise UnavailableError('no codes')


@needs_onnx
def test_a_session_takes_and_gives_tensors() -> None:
    source = NetworkSource.of(small())
    backend = OnnxRuntimeBackend(source, SIZE, 'cpu', 1)
    session = GpuSession(backend._session, ['scores'], 'cpu', SIZE)
    first, second = photograph(*SIZE)[None], photograph(72, 96)[None]
    kept = session(first)['scores']
    assert isinstance(kept, torch.Tensor)
    np.testing.assert_array_equal(kept.numpy(), moved_to_memory(backend(first)['scores']))
    resized = resize_image(second[0], *SIZE)[None]
    np.testing.assert_allclose(session(second)['scores'], backend(resized)['scores'], atol=0.02)
    # a later frame does not write into an earlier result
    np.testing.assert_array_equal(kept.numpy(), moved_to_memory(backend(first)['scores']))


@needs_onnx
def test_a_provider_that_could_not_start_is_named() -> None:
    backend = OnnxRuntimeBackend(NetworkSource.of(small()), SIZE, 'cpu', 1)
    with pytest.raises(BackendError, match='CUDAExecutionProvider of ONNX Runtime could not start'):
        backend._bind('cuda:0', SIZE)


@needs_onnx
def test_engines_of_tensorrt_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    backend = object.__new__(TensorRtBackend)
    (name, options), (rest, _) = backend._providers(b'one graph', 'float32', 'cuda:1')
    assert (name, rest) == ('TensorrtExecutionProvider', 'CUDAExecutionProvider')
    assert options['device_id'] == 1
    assert options['trt_fp16_enable'] is False
    assert Path(options['trt_engine_cache_path']).is_dir()
    assert tmp_path in Path(options['trt_engine_cache_path']).parents
    (_, other), _ = backend._providers(b'another graph', 'float16', 'cuda:1')
    assert other['trt_fp16_enable'] is True
    assert other['trt_engine_cache_path'] != options['trt_engine_cache_path']


@needs_gpu
@pytest.mark.parametrize('level', ['fp32', 'fp16'])
@pytest.mark.parametrize('name', ['lite_camvid', 'enet_camvid', 'segnet_camvid_int8'])
def test_recorded_networks_give_what_the_cpu_gives(name: str, level: str) -> None:
    image = RenderedDrive(2, 1, 480, 640)[0][0]
    plain = Segmenter.load(Settings(model=name, backend='torch', device='cpu', quantization='fp32'))
    for backend in ('torch', 'cuda_graph', 'torch_compile'):
        fast = Segmenter.load(Settings(model=name, backend=backend, device='cuda:0', quantization=level))
        for changes in ({}, {'confidence': True}, {'segments': True}):
            got = fast(image, **changes)
            assert (got.labels == plain(image, **changes).labels).mean() > 0.99
            np.testing.assert_array_equal(got.labels, fast(image, **changes).labels)


@needs_gpu
def test_a_network_is_recorded_while_another_one_serves() -> None:
    image, ended = RenderedDrive(2, 1, 480, 640)[0][0], []
    fast = Segmenter.load(Settings(model='lite_camvid', backend='cuda_graph', device='cuda:0'))
    want = fast(image).labels

    def load() -> None:
        Segmenter.load(Settings(model='enet_camvid', backend='cuda_graph', device='cuda:0'))
        ended.append(True)

    thread = Thread(target=load)
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(fast(image).labels, want)
    assert ended == [True]


@needs_gpu
def test_results_are_not_written_to_later() -> None:
    backend = CudaGraphBackend(NetworkSource.of(small().cuda()), SIZE, 'cuda:0', 0)
    kept = backend(photograph(*SIZE)[None])['scores']
    before = moved_to_memory(kept).copy()
    backend(photograph(72, 96)[None])
    np.testing.assert_array_equal(moved_to_memory(kept), before)
