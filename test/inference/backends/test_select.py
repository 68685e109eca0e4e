"""The level that a model runs at where its own does not run."""

import numpy as np
import pytest

from seg_ros.errors import UnavailableError
from seg_ros.inference.segmenter import Segmenter
from seg_ros.inference.settings import Settings
from seg_ros.synthetic import RenderedDrive


def test_integers_run_as_floats_where_nothing_runs_them(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip('onnxruntime')
    name = 'enet_camvid_int8'
    integers = Segmenter.load(Settings(model=name, backend='onnxruntime'))
    assert integers.quantization == 'int8'
    assert 'instead' not in caplog.text
    floats = Segmenter.load(Settings(model=name, backend='torch'))
    assert floats.quantization == 'fp32'
    assert "holds int8, which backend 'torch' does not run on cpu; it runs at fp32 instead" in caplog.text
    image, _ = RenderedDrive(2, 1, 360, 480)[0]
    assert np.mean(integers(image).labels == floats(image).labels) > 0.95


def test_a_level_that_was_asked_for_is_refused() -> None:
    with pytest.raises(UnavailableError, match='take torch_compile, onnxruntime or openvino'):
        Segmenter.load(Settings(model='enet_camvid_int8', backend='torch', quantization='int8'))
