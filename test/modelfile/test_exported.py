"""Exports that come with shipped models."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seg_ros.modelfile.description import open_model
from seg_ros.modelfile.shipped import EXPORTED, SHIPPED

FOLDER = Path(__file__).parents[2] / 'models/exported'

FIRST_START = """
import sys
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings

backend = sys.argv[3] if len(sys.argv) > 3 else 'auto'
segmenter = Segmenter.load(Settings(model=sys.argv[1], backend=backend, device='cpu'))
assert segmenter.agreement > 0.97, segmenter.agreement
assert segmenter.model.digest == sys.argv[2]
print(segmenter.backend_name, 'torch' in sys.modules, segmenter.model.n_parameters, segmenter.codebook)
"""


def test_every_export_is_that_of_its_model() -> None:
    assert {path.stem for path in FOLDER.glob('*.safetensors')} == set(EXPORTED)
    for name, digest in EXPORTED.items():
        path = FOLDER / f'{name}.safetensors'
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        parent = open_model(path).metadata.parent
        assert parent is not None
        assert parent['digest'] == SHIPPED[name]


@pytest.mark.parametrize('name', EXPORTED)
def test_the_first_start_needs_no_torch(name: str, tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path)}
    done = subprocess.run(
        [sys.executable, '-c', FIRST_START, name, SHIPPED[name]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    backend, has_torch, n_parameters, codebook = done.stdout.split()
    assert (backend, has_torch) == ('openvino', 'False')
    from seg_ros.modelfile.file import load_model

    model = load_model(name)
    assert int(n_parameters) == model.n_parameters
    assert codebook == model.codebook(model.metadata.input_size)


@pytest.mark.parametrize('backend', ['auto', 'openvino', 'onnxruntime'])
@pytest.mark.parametrize('name', EXPORTED)
def test_it_runs_where_torch_is_not_installed(name: str, backend: str, without_torch: dict[str, str]) -> None:
    pytest.importorskip('onnxruntime' if backend == 'auto' else backend)
    done = subprocess.run(
        [sys.executable, '-c', FIRST_START, name, SHIPPED[name], backend],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=without_torch,
    )
    assert done.stdout.split()[1] == 'False'


def test_what_needs_torch_says_so(without_torch: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, '-c', FIRST_START, 'lite_camvid', SHIPPED['lite_camvid']],
        stderr=subprocess.PIPE,
        text=True,
        env=without_torch,
    )
    assert done.returncode
    assert "pip install 'seg_ros[torch]', or let seg_ros export" in done.stderr
