"""Rules about the code that import-linter (see pyproject.toml) cannot express."""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / 'seg_ros'
LOOSE_MODULES = {
    '__init__',
    '_caches',
    '_cores',
    '_numba',
    'arrays',
    'classes',
    'errors',
    'resources',
    'schema',
}


def sources() -> dict[str, ast.Module]:
    """Module name -> syntax tree, generated messages left out."""
    found = {}
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        if parts[1] not in ('msg', 'srv', '_lib'):
            found['.'.join(p for p in parts if p != '__init__')] = ast.parse(path.read_text())
    return found


def test_no_loose_modules() -> None:
    assert {path.stem for path in PACKAGE.glob('*.py')} == LOOSE_MODULES


def test_every_class_name_is_used_once() -> None:
    names = Counter(
        node.name for tree in sources().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in names.items() if count > 1]


def test_no_pickle() -> None:
    for path in PACKAGE.rglob('*.py'):
        text = path.read_text()
        assert 'import pickle' not in text, path
        assert 'weights_only=False' not in text, path


def test_every_test_folder_mirrors_a_package() -> None:
    for folder in Path(__file__).parent.rglob('*'):
        is_mirror = folder.name != 'conformance'  # tries the whole node with the tools of ROS
        if folder.is_dir() and list(folder.glob('test_*.py')) and is_mirror:
            assert (PACKAGE / folder.relative_to(Path(__file__).parent)).is_dir(), folder
