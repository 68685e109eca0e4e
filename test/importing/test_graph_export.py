"""Exported models run without torch, and give what the models they were made from give."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg_ros.cli.main import main
from seg_ros.errors import ModelFileError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.container import read_container, write_container
from seg_ros.modelfile.description import METADATA_KEY
from seg_ros.modelfile.digest import BLANK, DIGEST_KEY, seal
from seg_ros.networks.graph_names import CODES_CODEBOOK

pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')

WITHOUT_TORCH = """
import json
import sys


import numpy as np
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings

image = np.load(sys.argv[2])
with_filter = sys.argv[3] == 'filter'
segmenter = Segmenter.load(
    Settings(model=sys.argv[1], backend='onnxruntime', device='cpu', embedding_filter_enabled=with_filter)
)
has_codes = segmenter.code_pooling is not None
prediction = segmenter(image, confidence=True, segments=has_codes)
print(json.dumps({
    'labels': prediction.labels.tolist(),
    'confidence': prediction.confidence.tolist(),
    'codes': prediction.segments.codes.tolist() if has_codes else [],
    'codebook': segmenter.codebook,
    'agreement': segmenter.agreement,
}))
"""


def shipped(name: str) -> Path:
    return Path(__file__).parents[2] / 'models' / f'{name}.safetensors'


@pytest.mark.parametrize(
    ('fixture', 'with_filter'),
    [('model_file', False), ('coded_model_file', False), ('embedded_model_file', True), ('shipped', True)],
)
def test_an_exported_model_gives_the_same_without_torch(
    fixture: str,
    with_filter: bool,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    without_torch: dict[str, str],
) -> None:
    original = shipped('lite_camvid_int8') if fixture == 'shipped' else request.getfixturevalue(fixture)
    target, picture = tmp_path / 'exported.safetensors', tmp_path / 'image.npy'
    assert main(['export', str(original), '-o', str(target)]) == 0
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    np.save(picture, image)
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            WITHOUT_TORCH,
            str(target),
            str(picture),
            'filter' if with_filter else 'plain',
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=without_torch,
    )
    got = json.loads(done.stdout)
    expected = Segmenter.load(
        Settings(
            model=str(original), backend='onnxruntime', device='cpu', embedding_filter_enabled=with_filter
        )
    )
    has_codes = expected.code_pooling is not None
    prediction = expected(image, confidence=True, segments=has_codes)
    assert (np.array(got['labels']) == prediction.labels).mean() > 0.999
    assert prediction.confidence is not None
    assert np.abs(np.array(got['confidence']) - prediction.confidence.astype(int)).mean() < 0.1
    assert got['codebook'] == expected.codebook
    assert got['agreement'] == pytest.approx(expected.agreement, abs=0.01)
    if has_codes:
        assert prediction.segments is not None
        assert np.array_equal(got['codes'], prediction.segments.codes)


def test_what_cannot_be_exported_is_told(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / 'exported.safetensors'
    assert main(['export', str(model_file), '--quantization', 'bf16', '-o', str(target)]) == 1
    assert 'a matter of the engine' in capsys.readouterr().err
    assert main(['export', str(model_file), '-o', str(target)]) == 0
    assert main(['export', str(target), '-o', str(tmp_path / 'again.safetensors')]) == 1
    assert 'holds an ONNX graph already' in capsys.readouterr().err
    assert main(['info', str(target)]) == 0
    assert 'onnx' in capsys.readouterr().out


def test_a_graph_that_lacks_what_its_codes_need_is_refused(coded_model_file: Path, tmp_path: Path) -> None:
    target = tmp_path / 'exported.safetensors'
    assert main(['export', str(coded_model_file), '-o', str(target)]) == 0
    container = read_container(bytearray(target.read_bytes()))
    tensors = {name: container.tensor(name) for name in container.entries}
    texts = {DIGEST_KEY: BLANK, METADATA_KEY: container.texts[METADATA_KEY]}
    for change, words in (
        ({CODES_CODEBOOK: tensors[CODES_CODEBOOK][:8].clone()}, 'codes.codebook is U8'),
        ({}, 'missing'),
    ):
        altered = {name: value for name, value in tensors.items() if name != CODES_CODEBOOK} | change
        target.write_bytes(seal(write_container(altered, texts)))
        with pytest.raises(ModelFileError, match=words):
            Segmenter.load(Settings(model=str(target), backend='onnxruntime', device='cpu'))
