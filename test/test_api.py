"""The public names of the package, and the cost of importing it."""

import json
import subprocess
import sys

import numpy as np

import seg_ros
from seg_ros.synthetic import RenderedDrive

PUBLIC = [
    'BagError',
    'BudgetError',
    'CalibrationError',
    'ClassSet',
    'DatasetError',
    'FrameOptions',
    'ImageError',
    'ModelFileError',
    'ParameterError',
    'Prediction',
    'RecipeError',
    'SegRosError',
    'Segmenter',
    'SelfCheckError',
    'Settings',
    'UnavailableError',
    'UnknownNameError',
    '__version__',
    'load_model',
]


def run(code: str) -> object:
    """The JSON that a program in a fresh interpreter prints."""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_public_names() -> None:
    assert sorted(seg_ros.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(seg_ros, name) is not None
    assert set(PUBLIC) <= set(dir(seg_ros))


def test_importing_the_package_changes_nothing() -> None:
    changed = run(
        'import json, os, signal, sys; modules, environment = set(sys.modules), dict(os.environ); '
        'handlers = [signal.getsignal(n) for n in (2, 15)]; import seg_ros; '
        'print(json.dumps([sorted(m.partition(".")[0] for m in set(sys.modules) - modules), '
        'dict(os.environ) == environment, handlers == [signal.getsignal(n) for n in (2, 15)]]))'
    )
    assert isinstance(changed, list)
    imported, *unchanged = changed
    assert not set(imported) - {
        'seg_ros',
        'pkgutil',
        'typing',
        'collections',
        'contextlib',  # typing imports it in Python 3.12
        'weakref',
        '_weakrefset',
        '_typing',
    }
    assert unchanged == [True, True]


def test_exceptions_come_without_torch() -> None:
    code = 'import json, sys; from seg_ros import ClassSet, SegRosError; '
    assert run(code + 'print(json.dumps("torch" in sys.modules))') is False


def test_three_lines_give_labels() -> None:
    image = RenderedDrive(1, 1, 120, 160)[0][0]
    segmenter = seg_ros.Segmenter.load(seg_ros.Settings(model='lite_camvid', backend='torch'))
    prediction = segmenter(image, confidence=True)
    assert prediction.labels.shape == prediction.confidence.shape == (120, 160)
    assert prediction.labels.dtype == np.uint8
    assert prediction.segments is None
    assert prediction.times.network_ms > 0
