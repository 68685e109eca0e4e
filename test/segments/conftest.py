"""Modules of loops as they are without Numba."""

import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def plain_modules(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Loads modules of seg_ros.segments anew, each with those before it; gives the last one."""

    def load(*names: str) -> ModuleType:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, 'numba', None)
            for name in names:
                spec = importlib.util.find_spec(f'seg_ros.segments.{name}')
                assert spec is not None
                assert spec.loader is not None
                module = importlib.util.module_from_spec(spec)
                patch.setitem(sys.modules, spec.name, module)
                spec.loader.exec_module(module)
        return module

    return load
