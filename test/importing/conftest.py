"""Graphs in files, and a class file for them."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HAS_ONNX = bool(find_spec('onnx') and find_spec('onnxruntime'))
collect_ignore = [] if HAS_ONNX else ['test_onnx_import.py']

sys.path.insert(0, str(Path(__file__).parent))
if HAS_ONNX:
    import onnx
    from onnx_graphs import CLASS_FILE, Kind, graph


@pytest.fixture
def class_file(tmp_path: Path) -> Path:
    path = tmp_path / 'classes.yaml'
    path.write_text(CLASS_FILE)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A function that saves the graph of a kind."""

    def save(made: Any = None, **how: Any) -> Path:
        path = tmp_path / 'net.onnx'
        onnx.save(graph(Kind(**how)) if made is None else made, str(path))
        return path

    return save
