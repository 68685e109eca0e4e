"""The contract that every entry of the tables keeps, on tiny inputs."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from seg_ros.arrays import unfolded
from seg_ros.classes import ClassInfo, ClassSet
from seg_ros.compression.budget import Budget
from seg_ros.compression.prune import prune_to
from seg_ros.datasets.registry import DATASETS
from seg_ros.errors import UnknownNameError, look_up
from seg_ros.inference.backends import onnx_runtime, openvino_engine, torch_compiled
from seg_ros.inference.backends.backend import Backend
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.backends.onnx_export import export_onnx
from seg_ros.inference.backends.registry import BACKENDS
from seg_ros.inference.backends.select import choose_backend
from seg_ros.inference.served_model import ModelSource
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model, save_model
from seg_ros.modelfile.golden import Golden
from seg_ros.modelfile.metadata import ModelMetadata
from seg_ros.modelfile.precision import frame_network
from seg_ros.networks.frame_network import FrameNetwork
from seg_ros.networks.graph.cost import count_parameters
from seg_ros.networks.image_network import ImageNetwork
from seg_ros.networks.registry import MODELS
from seg_ros.quantization.int8 import calibrate
from seg_ros.quantization.levels import QUANTIZATIONS
from seg_ros.training.export import export_model

GOLDEN = Golden(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 16), np.uint8))


FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in MODELS},
    'fcn': ('fcn', {'width': 4}),  # as published it is large for a test
    'fcn on alexnet': ('fcn', {'encoder': 'alexnet', 'finest': 16}),
    'hypercolumn on vgg11': ('hypercolumn', {'encoder': 'vgg11', 'width': 4}),
    'hypercolumn grid': ('hypercolumn', {'grid': 3}),
    'hypercolumn hidden': ('hypercolumn', {'encoder': 'vgg11', 'width': 4, 'hidden': [6]}),
    'hypercolumn on alexnet': ('hypercolumn', {'encoder': 'alexnet', 'layers': ['pool1', 'conv3']}),
}
"""What is tested -> architecture and arguments: each network, and those that differ in more than size."""


def classes(n: int) -> ClassSet:
    return ClassSet(tuple(ClassInfo(i, f'class {i}', (i, 0, 0)) for i in range(n)))


def network(name: str, n_classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    architecture, arguments = FORMS[name]
    return MODELS[architecture](n_classes, **arguments)


def describe(name: str, height: int, width: int, **more: Any) -> ModelMetadata:
    architecture, arguments = FORMS[name]
    return ModelMetadata(architecture, classes(3), (height, width), arguments=arguments, **more)


@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize(('n_classes', 'height', 'width'), [(1, 32, 32), (2, 33, 47), (21, 64, 96)])
def test_scores_have_the_size_of_the_image(name: str, n_classes: int, height: int, width: int) -> None:
    with torch.no_grad():
        scores = network(name, n_classes).eval()(torch.randn(2, 3, height, width))
    assert scores.shape == (2, n_classes, height, width)
    assert scores.isfinite().all()


@pytest.mark.parametrize('name', FORMS)
def test_every_parameter_learns(name: str) -> None:
    net = network(name).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
    F.cross_entropy(net(images), labels).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key
    optimizer.step()


@pytest.mark.parametrize('name', FORMS)
def test_files_keep_it(name: str, tmp_path: Path) -> None:
    net = network(name).eval()
    metadata = describe(name, 64, 64)
    save_model(tmp_path / 'model.safetensors', net, metadata, GOLDEN)
    loaded = load_model(tmp_path / 'model.safetensors')
    assert dataclasses.asdict(loaded.metadata) == dataclasses.asdict(metadata)
    torch.testing.assert_close(loaded.network.state_dict(), net.state_dict(), rtol=0, atol=0)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        # Not to the last bit: kernels choose by where in memory the weights lie.
        torch.testing.assert_close(loaded.network(images), net(images))


@pytest.mark.parametrize('name', FORMS)
def test_it_exports(name: str) -> None:
    net = network(name).eval()
    images = torch.randn(1, 3, 64, 80)
    exported = torch.export.export(net, (images,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images), net(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', FORMS)
def test_engines_of_onnx_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    obstacles = {key: BACKENDS[key].why_not('cpu', 'float32') for key in ('onnxruntime', 'openvino')}
    engines = [key for key, obstacle in obstacles.items() if obstacle is None]
    if not engines:
        pytest.skip(str(obstacles))
    metadata = describe(name, 64, 80)
    images = ImageNetwork(network(name).eval(), metadata.normalisation).eval()
    frame = torch.randint(0, 255, (1, 64, 80, 3), dtype=torch.uint8)
    with torch.no_grad():
        want = images(frame)
    content = export_onnx(FrameNetwork(images), (64, 80))
    for module in (onnx_runtime, openvino_engine):
        monkeypatch.setattr(module, 'onnx_of', lambda source, size, **options: content)
    for key in engines:
        got = BACKENDS[key](NetworkSource.of(FrameNetwork(images)), (64, 80), 'cpu', 1)(frame.numpy())
        scores = torch.as_tensor(unfolded(got['scores'][0])[None])
        torch.testing.assert_close(scores, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    'name',
    # packing the many weights of AlexNet takes minutes, those of SegNet half of one
    [
        pytest.param(name, marks=pytest.mark.slow if 'alexnet' in name or name == 'segnet' else ())
        for name in FORMS
    ],
)
def test_it_is_pruned_quantised_and_kept(name: str, tmp_path: Path) -> None:
    net, example = network(name), torch.zeros(1, 3, 64, 64)
    for _ in range(3):
        net(torch.randn(2, 3, 64, 64))
    n_before = count_parameters(net.eval())
    share = 0.3 if n_before > 10_000_000 else 0.9  # packing many takes long
    prune_to(net, example, Budget('parameters', share * n_before), criterion='random', step=0.1)
    images = [torch.randint(0, 255, (1, 64, 80, 3), dtype=torch.uint8) for _ in range(4)]
    metadata = describe(name, 64, 80, quantization='int8', pruned={'removed': []})
    run = ImageNetwork(net, metadata.normalisation).eval()
    ranges = calibrate(net, images, run, method='minmax')
    metadata = dataclasses.replace(metadata, calibration={'ranges': ranges})
    path = tmp_path / 'small.safetensors'
    export_model(path, net, metadata)
    model = load_model(path)
    assert model.n_parameters <= share * n_before
    golden = model.golden.images.nbytes + model.golden.labels.nbytes
    if name != 'efficientnet_lite_pyramid':  # most of its convolutions pad in a way of their own
        assert model.n_bytes - golden < 4 * model.n_parameters / 2.5
    with torch.no_grad():
        want, got = run(images[0]), frame_network(model, 'int8')(images[0])['scores']
    assert (want - got).square().mean() < 0.05 * want.var()


@pytest.mark.parametrize(
    ('backend', 'has_bfloat16', 'name'),
    [
        ('torch_compile', True, 'segnet_small'),
        ('torch_compile', False, 'segnet_small'),
        pytest.param('torch_compile', True, 'enet', marks=pytest.mark.slow),  # compiles for a minute
        pytest.param('torch_compile', False, 'enet', marks=pytest.mark.slow),
        ('onnxruntime', False, 'segnet_small'),
        ('onnxruntime', False, 'enet'),
        ('openvino', False, 'segnet_small'),
        ('openvino', False, 'enet'),
    ],
)
def test_backends_compute_int8_as_the_reference_does(
    name: str, backend: str, has_bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_bfloat16 and not torch_compiled.computes_bfloat16():
        pytest.skip('this processor has no instructions for bfloat16')
    monkeypatch.setattr(torch_compiled, 'computes_bfloat16', lambda: has_bfloat16)
    monkeypatch.setattr(openvino_engine, '_capabilities', lambda: ())
    obstacle = BACKENDS[backend].why_not('cpu', 'int8')
    if obstacle:
        pytest.skip(f'{backend} {obstacle}')
    net = network(name)
    for _ in range(20):
        net(torch.randn(2, 3, 64, 64))
    images = [torch.randint(0, 255, (1, 64, 80, 3), dtype=torch.uint8) for _ in range(4)]
    metadata = describe(name, 64, 80, quantization='int8')
    ranges = calibrate(net.eval(), images, ImageNetwork(net, metadata.normalisation).eval())
    metadata = dataclasses.replace(metadata, calibration={'ranges': ranges})
    export_model(tmp_path / 'int8.safetensors', net, metadata)
    source = ModelSource(Settings(model=str(tmp_path / 'int8.safetensors')))
    with torch.no_grad():
        want = frame_network(source.model, 'int8')(images[0])['scores']
    _, runner = choose_backend(source, backend, 'int8', 'cpu', 1)
    got = torch.as_tensor(runner(images[0].numpy())['scores'])
    if has_bfloat16:  # values move by less than a step, to either side: as near to float as the reference
        with torch.no_grad():
            whole = ImageNetwork(net, metadata.normalisation).eval()(images[0])
        assert (got - whole).square().mean() < 1.5 * (want - whole).square().mean()
        near, nearest = ((whole.argmax(1) == x.argmax(1)).float().mean() for x in (got, want))
        assert near > nearest - 0.01
        return
    # A value on the edge between two steps may fall to either side.
    assert (want - got).square().mean() < 0.002 * want.var()
    assert (want.argmax(1) == got.argmax(1)).float().mean() > 0.97


@pytest.mark.parametrize('level', ['fp32', 'bf16', 'fp16'])
def test_levels_compute_close_to_float(level: str) -> None:
    frame = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    metadata = ModelMetadata('enet', classes(3), (64, 64))
    with torch.no_grad():
        want = ImageNetwork(network('enet').eval(), metadata.normalisation)(frame)
        dtype = QUANTIZATIONS[level].dtype
        got = ImageNetwork(network('enet').eval(), metadata.normalisation, dtype).eval()(frame)
    assert got.dtype == torch.float32
    assert (got - want).abs().mean() < 0.05 * want.abs().mean()


@pytest.mark.parametrize('name', BACKENDS)
def test_backends_have_the_shape_of_the_protocol(name: str) -> None:
    for method in ('__init__', '__call__', 'why_not'):
        want = inspect.signature(getattr(Backend, method)).parameters
        got = inspect.signature(getattr(BACKENDS[name], method)).parameters
        assert list(got) == list(want)


def test_unknown_names_list_the_known() -> None:
    for table in (MODELS, QUANTIZATIONS, BACKENDS, DATASETS):
        with pytest.raises(UnknownNameError, match=', '.join(sorted(table))):
            look_up(table, 'nonsense', 'entry')
