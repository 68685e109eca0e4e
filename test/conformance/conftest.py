"""Interfaces that have no wheel are built where they are missing."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

BUILDER = Path(__file__).with_name('build_interfaces.py')


@pytest.fixture(scope='session')
def with_package(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, dict[str, str]], dict[str, str]]:
    """Environment in which a package of interfaces can be imported; built once and kept in the cache."""
    versions = sorted(f'{d.name} {d.version}' for d in metadata.distributions() if 'rosidl' in d.name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])

    def with_package(name: str, files: dict[str, str]) -> dict[str, str]:
        """Environment with a package; ``files`` are texts by path, for build_interfaces.py."""
        if find_spec(name):
            return {**os.environ, 'PATH': path}
        parts = [sys.version, *versions, *files.values(), BUILDER.read_text()]
        key = hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]
        cache = getattr(request.config, 'cache', None)
        target = (cache.mkdir(name) if cache else tmp_path_factory.mktemp(name)) / key
        if not (target / 'share').is_dir():  # the builder lays it out last
            build(name, files, tmp_path_factory.mktemp('source'), target)
        return {
            **os.environ,
            'PATH': path,
            'PYTHONPATH': before(target, 'PYTHONPATH'),
            'LD_LIBRARY_PATH': before(target / 'lib', 'LD_LIBRARY_PATH'),
        }

    return with_package


def build(name: str, files: dict[str, str], folder: Path, target: Path) -> None:
    for path, text in files.items():
        (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / path).write_text(text)
    command = [sys.executable, str(BUILDER), str(folder / name), str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def before(folder: Path, variable: str) -> str:
    return os.pathsep.join([str(folder), os.environ.get(variable, '')]).rstrip(os.pathsep)
