"""Graphs in files, and a class file for them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

sys.path.insert(0, str(Path(__file__).parent))
from onnx_graphs import CLASS_FILE, Kind, graph  # noqa: E402 - beside this file


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
