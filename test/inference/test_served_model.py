"""A model that was loaded before is served without torch; a file that is not the same is refused."""

import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_ros.errors import ModelFileError
from seg_ros.inference.backends.graph_cache import graph_key, recall_graph, remember_graph
from seg_ros.inference.backends.network_source import NetworkSource
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.served_model import ModelSource, ServedModel, likely_needs_torch
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.file import load_model
from seg_ros.modelfile.find import shipped_models
from seg_ros.segments.code_pooling import CodePooling

ENGINES = {
    'onnxruntime': ('onnxruntime', 'onnx', 'onnxscript'),
    'openvino': ('openvino', 'onnx', 'onnxscript'),
}
"""Backend that runs kept graphs -> packages that it needs."""

SERVE = """
import sys
import numpy as np
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive
path, backend, kind, out = sys.argv[1:]
settings = Settings(model=path, backend=backend, device='cpu', embedding_filter_enabled=kind == 'embedded')
segmenter = Segmenter.load(settings)
found = segmenter(RenderedDrive(5, 1, 120, 200)[0][0], segments=kind == 'coded', confidence=True)
codes = found.segments.codes if found.segments else np.zeros(0)
facts = segmenter.codebook, segmenter.model.n_parameters, segmenter.agreement
np.savez(out, labels=found.labels, confidence=found.confidence, codes=codes, facts=[str(f) for f in facts])
print('torch' in sys.modules)
"""


def source_of(path: Path, **values: Any) -> ModelSource:
    return ModelSource(Settings(model=str(path), **values))


def was_loaded(source: ModelSource) -> bool:
    """Whether torch has loaded the model file."""
    return 'model' in vars(source)


def assert_told_by_the_weights(served: ServedModel, path: Path) -> None:
    """Facts about a coded model are those of its weights."""
    model = load_model(path)
    assert model.codes is not None
    assert served.n_parameters == model.n_parameters
    assert served.codebook == model.codebook(served.input_size) != ''
    assert served.digest == model.digest
    assert served.code_pooling is not None
    np.testing.assert_array_equal(served.code_pooling.colour, CodePooling.of(model.codes).colour)


@pytest.fixture
def graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of what is kept; nothing is in it yet."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'seg_ros' / 'graphs'


@pytest.mark.usefixtures('graphs')
@pytest.mark.parametrize('backend', ENGINES)
@pytest.mark.parametrize('kind', ['plain', 'coded', 'embedded'])
def test_a_second_start_gives_the_same_without_torch(
    kind: str, backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if missing := [name for name in ENGINES[backend] if find_spec(name) is None]:
        pytest.skip(f'{", ".join(missing)} not installed')
    path = request.getfixturevalue({'plain': 'model_file'}.get(kind, f'{kind}_model_file'))
    has_torch = []
    for start in ('first', 'second'):
        command = [sys.executable, '-c', SERVE, str(path), backend, kind, str(tmp_path / f'{start}.npz')]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        has_torch.append(done.stdout.strip())
    assert has_torch == ['True', 'False']
    first, second = (np.load(tmp_path / f'{start}.npz') for start in ('first', 'second'))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert len(np.unique(first['labels'])) > 2
    assert (len(first['codes']) > 1) == (kind == 'coded')


@pytest.mark.usefixtures('graphs')
def test_facts_are_kept_and_depend_on_the_size(coded_model_file: Path) -> None:
    settings = Settings(model=str(coded_model_file), backend='onnxruntime', device='cpu')
    assert likely_needs_torch(settings)
    assert was_loaded(source_of(coded_model_file))
    kept = source_of(coded_model_file)
    assert not was_loaded(kept)
    assert not likely_needs_torch(settings)
    assert likely_needs_torch(replace(settings, backend='torch'))
    assert_told_by_the_weights(kept.served, coded_model_file)
    assert not was_loaded(kept)
    other = source_of(coded_model_file, input_width=160)
    assert was_loaded(other)
    assert other.served.codebook == load_model(coded_model_file).codebook((96, 160)) != kept.served.codebook


@pytest.mark.usefixtures('graphs')
def test_hardness_is_kept(embedded_model_file: Path) -> None:
    first, second = source_of(embedded_model_file), source_of(embedded_model_file)
    assert was_loaded(first)
    assert not was_loaded(second)
    assert first.model.embeddings is not None
    assert second.served.hardness == first.served.hardness == float(first.model.embeddings.hardness.detach())


@pytest.mark.parametrize('damage', ['a bit', 'the end', 'everything'])
def test_damaged_facts_are_made_anew(coded_model_file: Path, graphs: Path, damage: str) -> None:
    source_of(coded_model_file)
    (path,) = graphs.iterdir()
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes({'a bit': content, 'the end': content[:-20], 'everything': b''}[damage])
    again = source_of(coded_model_file)
    assert was_loaded(again)
    assert_told_by_the_weights(again.served, coded_model_file)
    assert not was_loaded(source_of(coded_model_file))


@pytest.mark.usefixtures('graphs')
@pytest.mark.parametrize(
    'kept',
    [
        b'',
        b'\xff\xfe',
        b'not JSON',
        b'[]',
        b'null',
        b'{}',
        b'{"n_parameters": 5, "n_layers": 3}',
        b'{"n_parameters": "5", "codebook": "", "colour": null, "hardness": null, "has_upsampling": false}',
        b'{"n_parameters": 5, "codebook": "", "colour": 1, "hardness": null, "has_upsampling": false}',
    ],
)
def test_facts_of_another_kind_are_made_anew(coded_model_file: Path, kept: bytes) -> None:
    key = graph_key('facts', load_model(coded_model_file).digest, (96, 128))
    remember_graph(key, kept)
    again = source_of(coded_model_file)
    assert was_loaded(again)
    assert_told_by_the_weights(again.served, coded_model_file)
    assert recall_graph(key) != kept


@pytest.mark.usefixtures('graphs')
def test_a_file_replaced_before_torch_loads_it_is_refused(
    model_file: Path, coded_model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'model.safetensors'
    shutil.copy(coded_model_file, path)
    source_of(path)
    source = source_of(path)
    assert not was_loaded(source)
    shutil.copy(model_file, path)
    with pytest.raises(ModelFileError, match='was replaced while it was loaded'):
        _ = source.model
    assert not was_loaded(source)
    assert source_of(path).served.metadata.codes is None


@pytest.mark.usefixtures('graphs')
def test_an_altered_file_is_refused_although_facts_are_kept(coded_model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / 'model.safetensors'
    shutil.copy(coded_model_file, path)
    source_of(path)
    content = bytearray(path.read_bytes())
    for place in (len(content) // 2, len(content) - 1):
        content[place] ^= 1
        path.write_bytes(content)
        for load in (source_of, Segmenter.load):
            with pytest.raises(ModelFileError, match='damaged or altered'):
                load(path)  # type: ignore[operator]
        content[place] ^= 1
    path.write_bytes(content)
    assert not was_loaded(source_of(path))


@pytest.mark.parametrize('path', shipped_models(), ids=lambda path: path.stem)
def test_a_network_is_what_is_told_of_it_before_it_is_built(path: Path) -> None:
    source = source_of(path)
    level = source.served.metadata.quantization
    for with_embeddings in {False, source.served.hardness is not None}:
        told = NetworkSource.of_model(source, level, with_embeddings=with_embeddings)
        found = NetworkSource.of(told.build())
        assert replace(told, build=found.build, ready=found.ready) == found


WITHOUT_TORCH = """
import sys
import seg_ros.inference.segmenter
from seg_ros.inference.backends.backend import choose_device
from seg_ros.inference.backends.registry import BACKENDS
for name in BACKENDS:
    for computes_in in ('float32', 'bfloat16', 'float16', 'int8'):
        BACKENDS[name].why_not('cpu', computes_in)
    BACKENDS[name].why_not_graph('cpu')
choose_device('cpu')
if sys.argv[1:] == ['node']:
    import seg_ros.ros.node
assert 'torch' not in sys.modules
"""


@pytest.mark.parametrize('part', ['segmenter', 'node'])
def test_neither_imports_nor_questions_to_backends_import_torch(part: str) -> None:
    if part == 'node':
        pytest.importorskip('rclpy')
    subprocess.run([sys.executable, '-c', WITHOUT_TORCH, part], check=True)
