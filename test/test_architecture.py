import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'seg_ros'

# From the bottom up: a module may import from its own layer and those below; a package means its modules.
LAYERS = [
    ['seg_ros.arrays', 'seg_ros.errors', 'seg_ros._numba'],
    [
        'seg_ros.classes',
        'seg_ros.resources',
        'seg_ros.networks.image_network',
        'seg_ros.inference.argmax_kernels',
        'seg_ros.inference.argmax',
        'seg_ros.inference.embedding_filter',
        'seg_ros.inference.filter_kernels',
        'seg_ros.regions',
        'seg_ros.drawing.overlay',
        'seg_ros.bags',
        'seg_ros.models',
        'seg_ros.compress',
        'seg_ros.runtime',
        'seg_ros.data',
        'seg_ros.synthetic',
    ],
    [
        'seg_ros.networks.registry',
        'seg_ros.modelfile.metadata',
        'seg_ros.modelfile.file',
        'seg_ros.training.golden_record',
    ],
    ['seg_ros.inference.settings'],
    ['seg_ros.inference.backends.select', 'seg_ros.inference.segmenter'],
]
ROS = (
    'rclpy',
    'sensor_msgs',
    'std_msgs',
    'diagnostic_msgs',
    'lifecycle_msgs',
    'rosgraph_msgs',
    'vision_msgs',
)


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob('*.py'):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        if parts[1] not in ('msg', 'srv', '_lib'):
            found['.'.join(p for p in parts if p != '__init__')] = path
    return found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f'{node.module}.{alias.name}' for alias in node.names} | {node.module}
    return names


def layer(module: str) -> int:
    for number, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(prefix + '.') for prefix in prefixes):
            return number
    return len(LAYERS)


@pytest.mark.parametrize('module', sorted(modules()))
def test_imports_point_down(module: str) -> None:
    if module == 'seg_ros':
        return
    known = modules()
    for name in imports(known[module]):
        if name in known and name != 'seg_ros':
            assert layer(name) <= layer(module), f'{module} imports {name}'


@pytest.mark.parametrize('module', sorted(m for m in modules() if not m.startswith('seg_ros.ros')))
def test_only_ros_imports_ros(module: str) -> None:
    used = {name for name in imports(modules()[module]) if name.split('.')[0] in ROS}
    assert not used


def test_package_itself_imports_little() -> None:
    heavy = {'torch', 'numpy', 'rclpy', 'cv2'}
    assert not heavy & {name.split('.')[0] for name in imports(PACKAGE / '__init__.py')}


def test_no_pickle() -> None:
    for module, path in modules().items():
        text = path.read_text()
        assert 'import pickle' not in text, module
        assert 'weights_only=False' not in text, module
