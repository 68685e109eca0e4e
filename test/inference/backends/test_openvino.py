"""OpenVINO gives what PyTorch gives, in integers where the file has them, and leaves no trace at home."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seg_ros._caches import is_kept
from seg_ros.arrays import Float32Array, UInt8Array, is_folded, unfolded
from seg_ros.errors import BackendError, ImageError
from seg_ros.images.resize import resize_image
from seg_ros.inference.argmax import argmax_labels
from seg_ros.inference.backends import graph_cache, onnx_export, openvino_engine
from seg_ros.inference.backends import select as backends
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.openvino_engine import OpenVinoBackend
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.levels import possible_levels
from seg_ros.modelfile.precision import frame_network
from seg_ros.modelfile.shipped import SHIPPED
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.graph_names import FREE_SIDES
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.normalisation import Normalisation
from seg_ros.networks.onnx_graph import OnnxGraph
from seg_ros.quantization.int8_layers import QuantizedConv2d
from seg_ros.resources import resource

if missing := [name for name in ('openvino', 'onnx', 'onnxscript') if find_spec(name) is None]:
    pytest.skip(f'{", ".join(missing)} not installed', allow_module_level=True)

SIZE = (16, 24)


def small() -> FrameNetwork:
    torch.manual_seed(0)
    return FrameNetwork(ImageNetwork(nn.Conv2d(3, 5, 3, padding=1), Normalisation())).eval()


def noise(size: tuple[int, int] = SIZE, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)


def engine_of(network: FrameNetwork, size: tuple[int, int] = SIZE, n_threads: int = 1) -> OpenVinoBackend:
    return OpenVinoBackend(NetworkSource.of(network), size, 'cpu', n_threads)


def reference(network: FrameNetwork, images: UInt8Array) -> dict[str, Float32Array]:
    with torch.no_grad():
        answers: dict[str, torch.Tensor] = network(torch.from_numpy(images))
    return {name: answer.numpy() for name, answer in answers.items()}


def test_scores_codes_and_embeddings_are_those_of_pytorch() -> None:
    model = load_model(resource('models/lite_camvid.safetensors'))
    size = model.metadata.input_size
    network = frame_network(model, 'fp32', with_embeddings=True)
    images = resize_image(model.golden.images[0], *size)[None]
    want = reference(network, images)
    got = engine_of(network, size)(images)
    assert list(got) == list(want) == ['scores', 'embeddings', 'codes']
    for name, values in want.items():
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], values, rtol=1e-3, atol=2e-3)


def test_an_export_tells_nothing_about_this_computer() -> None:
    content = onnx_export.export_onnx(small(), SIZE)
    for name in (
        Path(onnx_export.__file__).name,
        Path(torch.__file__).parent.parent.name,
        'image_network.py',
    ):
        assert name.encode() not in content


@pytest.mark.parametrize(('name', 'level'), [('lite_camvid', 'fp32'), ('lite_camvid_int8', 'int8')])
def test_scores_are_folded_unless_there_are_embeddings(name: str, level: str) -> None:
    """As the last layer computes them; the filter needs them sorted."""
    model = load_model(resource(f'models/{name}.safetensors'))
    size = model.metadata.input_size
    images = resize_image(model.golden.images[0], *size)[None]
    plain = engine_of(frame_network(model, level, with_embeddings=True), size)(images)['scores'][0]
    assert plain.shape == (11, *size)
    backend = engine_of(frame_network(model, level), size)
    for wanted in ({'scores'}, None):
        folded = backend(images, wanted)['scores'][0]
        assert is_folded(folded)
        np.testing.assert_allclose(unfolded(folded), plain, rtol=1e-4, atol=1e-4)
        assert np.array_equal(
            argmax_labels(folded, 480, 640).labels, argmax_labels(unfolded(folded), 480, 640).labels
        )


@pytest.mark.parametrize('refinement', [0.0, 1.0])
@pytest.mark.parametrize('filtered', [False, True])
def test_labels_and_segments_are_those_of_pytorch(refinement: float, filtered: bool) -> None:
    """The whole way, whatever the order of the scores on it: folded, or sorted for the filter."""
    image = noise((90, 130))[0]
    image[20:, 30:90], image[60:] = (90, 90, 100), (60, 120, 60)
    found = []
    for backend in ('openvino', 'torch'):
        settings = Settings(
            model='lite_camvid', backend=backend, quantization='fp32', embedding_filter_enabled=filtered
        )
        segmenter = Segmenter.load(settings)
        found.append(segmenter(image, segments=True, confidence=True, refinement=refinement))
    ours, expected = found
    assert (ours.labels == expected.labels).mean() > 0.995
    assert ours.confidence is not None
    assert expected.confidence is not None
    assert np.abs(ours.confidence.astype(int) - expected.confidence).mean() < 1
    assert ours.segments is not None
    assert expected.segments is not None
    same = ours.segments.regions.ids == expected.segments.regions.ids
    assert same.mean() > 0.95
    classes = [s.class_ids[s.regions.ids][same] for s in (ours.segments, expected.segments)]
    assert (classes[0] == classes[1]).mean() > 0.98


@pytest.mark.skipif(not is_kept(), reason='caches are not kept here')
def test_codes_that_nobody_wants_take_no_memory() -> None:
    segmenter = Segmenter.load(Settings(backend='openvino', device='cpu'))
    engine = getattr(segmenter.backend, 'backend')  # noqa: B009 - of the guard
    images = noise(segmenter.input_size)
    before = segmenter.backend(images)['codes']
    for _ in range(openvino_engine._N_TO_FREE):
        assert engine._all is not None
        segmenter.backend(images, {'scores'})
    assert engine._all is None
    assert np.array_equal(segmenter.backend(images)['codes'], before)


def test_every_quantised_convolution_computes_in_integers() -> None:
    """OpenVINO gives a name to each kernel, of which the end is the type that it computes in."""
    model = load_model(resource('models/lite_camvid_int8.safetensors'))
    size = model.metadata.input_size
    network = frame_network(model, 'int8')
    n_quantised = sum(isinstance(module, QuantizedConv2d) for module in network.modules())
    images = noise(size)
    want = reference(network, images)['scores']
    backend = engine_of(network, size)
    assert backend._all is not None
    graph = backend._all._request.get_compiled_model().get_runtime_model()
    facts = [node.get_rt_info() for node in graph.get_ops()]
    kernels = [
        fact['primitiveType'].astype(str)
        for fact in facts
        if fact['layerType'].astype(str) in ('Convolution', 'GroupConvolution')
    ]
    assert sum(kernel.endswith('I8') for kernel in kernels) == n_quantised > 30
    got = unfolded(backend(images)['scores'][0])
    assert (got.argmax(0) == want[0].argmax(0)).mean() > 0.97


@pytest.mark.slow
@pytest.mark.parametrize('name', SHIPPED)
def test_every_shipped_model_passes_its_self_check_at_every_level(name: str) -> None:
    model = load_model(resource(f'models/{name}.safetensors'))
    for level in possible_levels(model):
        if OpenVinoBackend.why_not('cpu', backends.QUANTIZATIONS[level].computes_in) is None:
            settings = Settings(model=name, backend='openvino', quantization=level, device='cpu')
            assert Segmenter.load(settings).agreement > 0.9


@pytest.mark.parametrize('precision', ['bfloat16', 'float16'])
def test_halves_are_computed_where_the_processor_has_them(precision: str) -> None:
    if reason := OpenVinoBackend.why_not('cpu', precision):
        pytest.skip(f'OpenVINO {reason}')
    inner, images = nn.Conv2d(3, 5, 3, padding=1), noise()
    whole = reference(FrameNetwork(ImageNetwork(inner, Normalisation())), images)['scores']
    network = FrameNetwork(ImageNetwork(inner, Normalisation(), getattr(torch, precision))).eval()
    got = engine_of(network)(images)['scores']
    error = np.abs(got - whole).max() / np.abs(whole).max()
    assert 1e-5 < error < 0.03  # coarser than float32, and near it


def test_frames_do_not_share_memory() -> None:
    """Results stay when the next frame is computed, and nothing is written into the images."""
    network = small()
    first, second = noise(seed=1), noise(seed=2)
    copies = first.copy(), second.copy()
    want = [reference(network, images)['scores'] for images in copies]
    backend = engine_of(network)
    got = [backend(images)['scores'] for images in (first, second, first)]
    for scores, index in zip(got, (0, 1, 0), strict=True):
        np.testing.assert_allclose(scores, want[index], rtol=1e-4, atol=1e-4)
    assert np.array_equal(first, copies[0])
    assert np.array_equal(second, copies[1])
    assert not np.shares_memory(got[0], got[2])


def test_other_images_are_refused() -> None:
    backend = engine_of(small())
    for images in (noise((24, 16)), noise().astype(np.float32), noise((24, 16)).transpose(0, 2, 1, 3)):
        with pytest.raises(ImageError, match=r'expected \(1, 16, 24, 3\), uint8, contiguous'):
            backend(images)


def test_a_graph_is_kept_and_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    exports: list[int] = []
    export = onnx_export.export_onnx

    def count(network: FrameNetwork, size: tuple[int, int]) -> bytes:
        exports.append(1)
        return export(network, size)

    monkeypatch.setattr(onnx_export, 'export_onnx', count)

    def scores(n_threads: int = 1) -> Float32Array:
        network = small()
        network.identity = 'small'
        return np.asarray(engine_of(network, SIZE, n_threads)(noise())['scores'])

    first = scores()
    folder = tmp_path / 'seg_ros' / 'graphs'
    assert len(list(folder.iterdir())) == 2  # for ONNX engines, and for OpenVINO
    assert np.array_equal(scores(), first)
    assert np.allclose(scores(2), first, atol=1e-5)  # another graph of OpenVINO, of the same export
    assert len(list(folder.iterdir())) == 3
    assert exports == [1]
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
    assert np.array_equal(scores(), first)
    assert exports == [1, 1]


def test_a_kept_graph_of_another_kind_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(openvino_engine, 'recall_graph', lambda key: b'not a graph of OpenVINO')
    network = small()
    network.identity = 'small'
    want = reference(network, noise())['scores']
    got = engine_of(network)(noise())['scores']
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
    assert 'is made anew' in caplog.text


def test_an_imported_graph_of_free_size_runs() -> None:
    from onnx import TensorProto
    from onnx import helper as h

    shape = [1, *FREE_SIDES, 3]
    nodes = [
        h.make_node('Cast', ['images'], ['floats'], to=TensorProto.FLOAT),
        h.make_node('Transpose', ['floats'], ['scores'], perm=[0, 3, 1, 2]),
    ]
    takes = h.make_tensor_value_info('images', TensorProto.UINT8, shape)
    gives = h.make_tensor_value_info('scores', TensorProto.FLOAT, [1, 3, *FREE_SIDES])
    graph = h.make_graph(nodes, 'g', [takes], [gives])
    content = h.make_model(graph, opset_imports=[h.make_opsetid('', 17)], ir_version=8).SerializeToString()
    network = FrameNetwork(ImageNetwork(OnnxGraph(content), Normalisation())).eval()
    assert OpenVinoBackend.why_not_graph('cpu') is None
    for size in (SIZE, (20, 12)):
        got = engine_of(network, size)(noise(size))['scores']
        np.testing.assert_array_equal(got, noise(size).transpose(0, 3, 1, 2).astype(np.float32))


def test_a_graph_that_the_engine_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, 'onnx_of', lambda source, size, **options: b'\x08\x08:\x00')
    monkeypatch.setattr(openvino_engine, 'recall_graph', lambda key: None)
    with pytest.raises(BackendError, match='backend openvino cannot be built: ') as caught:
        backends.choose_backend(ModelSource(Settings(model='segments')), 'openvino', 'fp32', 'cpu', 1)
    assert '\n' not in str(caught.value)
    assert 'Exception from' not in str(caught.value)


def test_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OpenVinoBackend.why_not('cuda:0', 'float32') == 'runs on CPUs only'
    monkeypatch.setattr(openvino_engine, '_capabilities', lambda: ('FP32', 'INT8'))
    assert OpenVinoBackend.why_not('cpu', 'int8') is None
    assert 'bf16' in (OpenVinoBackend.why_not('cpu', 'bfloat16') or '')
    monkeypatch.setattr(openvino_engine, '_ENGINE', 'no_such_package')
    for reason in (OpenVinoBackend.why_not('cpu', 'float32'), OpenVinoBackend.why_not_graph('cpu')):
        assert reason == "needs no_such_package: pip install 'seg_ros[openvino]'"


IMPORT = """
from seg_ros.inference.backends.openvino_engine import import_openvino
print(import_openvino().Core().available_devices)
"""


def test_nothing_is_stored_at_home(tmp_path: Path) -> None:
    """A plain import stores an identifier of the computer there, and reports to the maker."""
    plain = {name: value for name, value in os.environ.items() if name not in ('CI', 'XDG_CACHE_HOME')}
    done = subprocess.run(
        [sys.executable, '-c', IMPORT], check=True, env={**plain, 'HOME': str(tmp_path)}, capture_output=True
    )
    assert b'CPU' in done.stdout
    assert not list(tmp_path.rglob('*'))


def test_the_oldest_graphs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(graph_cache, '_MOST_FILES', 2)
    for index, key in enumerate('abc'):
        graph_cache.remember_graph(key, b'graph ' + key.encode())
        os.utime(tmp_path / 'seg_ros' / 'graphs' / f'{key}.graph', (index, index))
    graph_cache.remember_graph('d', b'')
    assert [graph_cache.recall_graph(key) for key in 'abcd'] == [None, None, b'graph c', b'']


SIGNALS = """
import faulthandler, gc, os, signal, sys
faulthandler.enable()  # sets a stack for signals; so does pytest
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
for _ in range(2):
    segmenters = [Segmenter.load(Settings(model=sys.argv[1], backend='openvino')) for _ in range(2)]
    while segmenters:
        del segmenters[0]  # the oldest first
        gc.collect()
came = []
signal.signal(signal.SIGCHLD, lambda *arguments: came.append(1))
os.kill(os.getpid(), signal.SIGCHLD)
print(len(came))
"""


def test_signals_find_their_stack_when_models_are_gone(model_file: Path) -> None:
    """Where it fails, the process is killed: the end of a worker of a loader, and Ctrl-C, found no stack."""
    command = [sys.executable, '-c', SIGNALS, str(model_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, '1\n'), done.stderr
