"""The package as it is installed.

The slow tests build it by colcon and by pip, some minutes in all:
SEG_ROS_SLOW=1 .venv/bin/python -m pytest test/test_package.py
"""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

import seg_ros
from seg_ros.errors import UnavailableError
from seg_ros.resources import resource

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE_XML = ElementTree.parse(ROOT / 'package.xml').getroot()
MESSAGES = sorted(path.stem for path in (ROOT / 'msg').glob('*.msg'))
ROS_PACKAGES = ('rclpy', 'cv_bridge', 'launch', 'launch_ros', 'builtin_interfaces', 'rcl_interfaces')


def texts(tag):
    return [element.text for element in PACKAGE_XML.iter(tag)]


def run(*command, cwd, **env):
    """Run a command in a clean environment; its output is shown when the test fails."""
    names = [k for k in os.environ if k in ('HOME', 'LANG') or k.startswith(('PIP_', 'SSL_'))]
    if 'ROS_DISTRO' in os.environ:
        names += ['ROS_DISTRO', *(k for k in os.environ if k.endswith('PATH'))]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    result = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**{k: os.environ[k] for k in names}, 'PATH': path, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, f'{command}\n{result.stdout}'
    return result.stdout


# Version and package.xml


def test_version_is_said_once():
    assert version('seg_ros') == seg_ros.__version__ == PACKAGE_XML.findtext('version')


def test_version_of_a_bare_checkout(tmp_path):
    shutil.copy(ROOT / 'package.xml', tmp_path)
    (tmp_path / 'seg_ros').mkdir()
    for name in ('__init__.py', 'errors.py', 'resources.py'):
        shutil.copy(ROOT / 'seg_ros' / name, tmp_path / 'seg_ros')
    code = 'import seg_ros; print(seg_ros.__version__)'
    # -I -S: no site-packages, hence no metadata
    path = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); '
    assert run(sys.executable, '-I', '-S', '-c', path + code, cwd=tmp_path).strip() == seg_ros.__version__


def test_package_xml_says_what_ros_tools_need():
    assert PACKAGE_XML.get('format') == '3'
    assert texts('name') == ['seg_ros']
    assert texts('build_type') == ['ament_cmake']
    assert texts('member_of_group') == ['rosidl_interface_packages']
    assert texts('license') == ['Apache-2.0', 'CC-BY-NC-4.0']
    for licence in PACKAGE_XML.iter('license'):
        assert (ROOT / licence.get('file')).is_file()


def imported_packages():
    generated = {ROOT / 'seg_ros' / 'msg', ROOT / 'seg_ros' / 'srv'}
    for path in (*(ROOT / 'seg_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())) if path.parent not in generated else ():
            if isinstance(node, ast.Import):
                yield from (alias.name.split('.')[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split('.')[0]


def test_every_ros_package_imported_is_a_dependency():
    imported = {name for name in imported_packages() if name in ROS_PACKAGES or name.endswith('_msgs')}
    assert imported <= {*texts('depend'), *texts('exec_depend')}


def test_ros_from_pypi_is_an_extra_only():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
    assert not [name for name in project['dependencies'] if name.startswith('ros-')]
    extras = {k: v for k, v in project['optional-dependencies'].items() if k != 'ros'}
    assert not [name for names in extras.values() for name in names if name.startswith('ros-')]


# Python package and resources


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in (ROOT / 'seg_ros').rglob('*.py')}
    assert [folder for folder in sorted(folders) if not (folder / '__init__.py').is_file()] == []


def test_importing_the_package_is_light():
    heavy = "{'rclpy', 'torch', 'numpy', 'cv2'}"
    code = f'import sys, seg_ros.resources; print({heavy} & set(sys.modules))'
    assert run(sys.executable, '-c', code, cwd=ROOT).strip() == 'set()'


def test_resources_of_this_installation():
    assert resource('package.xml').is_file()
    assert list(resource('config/labels').glob('*.yaml'))


def test_missing_resource_says_where_it_looked():
    with pytest.raises(UnavailableError, match=r'models/none\.safetensors.*looked in /'):
        resource('models/none.safetensors')


@pytest.mark.parametrize(
    'packages', ['lib/python3.12/site-packages', 'local/lib/python3.12/dist-packages', '.']
)
def test_resources_of_an_installed_prefix(tmp_path, packages):
    installed = tmp_path / packages / 'seg_ros'
    shutil.copytree(ROOT / 'seg_ros', installed, ignore=lambda _, names: set(names) - {'resources.py'})
    (tmp_path / 'share/seg_ros/config').mkdir(parents=True)
    spec = importlib.util.spec_from_file_location('installed_resources', installed / 'resources.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.resource('config') == tmp_path / 'share/seg_ros/config'
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        module.resource('models')


# Messages


def test_messages_are_those_of_the_folder():
    msg = pytest.importorskip('seg_ros.msg')
    assert sorted(name for name in dir(msg) if name[0].isupper()) == MESSAGES


@pytest.mark.parametrize('name', MESSAGES)
def test_message_is_installed_with_its_fields(name):
    """The fields of the built class are those that rosbags, another parser, reads from the file."""
    from rosbags.typesys import get_types_from_msg

    msg = pytest.importorskip('seg_ros.msg')
    full_name = f'seg_ros/msg/{name}'
    text = resource(f'msg/{name}.msg').read_text()
    assert text == (ROOT / 'msg' / f'{name}.msg').read_text()
    fields = get_types_from_msg(text, full_name)[full_name][1]
    assert [field for field, _ in fields] == list(getattr(msg, name).get_fields_and_field_types())


def test_message_bytes_read_alike_by_another_implementation():
    pytest.importorskip('rclpy')
    from rclpy.serialization import serialize_message
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    from seg_ros.msg import ClassInfo, ModelInfo

    store = get_typestore(Stores.ROS2_KILTED)
    for name in MESSAGES:
        store.register(get_types_from_msg((ROOT / 'msg' / f'{name}.msg').read_text(), f'seg_ros/msg/{name}'))
    road = ClassInfo(id=3, name='road', colour=[128, 64, 255])
    sent = ModelInfo(architecture='enet', input_height=360, input_width=480, n_parameters=2**40)
    sent.classes = [road]
    received = store.deserialize_cdr(serialize_message(sent), 'seg_ros/msg/ModelInfo')
    assert (received.architecture, received.input_height, received.input_width) == ('enet', 360, 480)
    assert received.n_parameters == 2**40
    assert [(c.id, c.name, list(c.colour)) for c in received.classes] == [(3, 'road', [128, 64, 255])]


# Builds

USE = """
import rclpy
from seg_ros.msg import ClassInfo, ModelInfo
from seg_ros.resources import resource

rclpy.init()
node = rclpy.create_node('probe')
node.create_publisher(ModelInfo, 'model_info', 1).publish(ModelInfo(classes=[ClassInfo(id=1)]))
rclpy.shutdown()
for name in ('config/labels', 'launch', 'models', 'msg/ModelInfo.msg', 'package.xml'):
    print(resource(name))
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of this checkout, with what an editable install wrote into it."""
    ignore = shutil.ignore_patterns('.*', 'build', 'build_demo', 'install', 'log', 'runs', '__pycache__')
    return Path(shutil.copytree(ROOT, tmp_path / 'seg_ros', ignore=ignore))


@pytest.mark.slow
def test_colcon_builds_and_tests(checkout):
    if shutil.which('colcon', path=str(Path(sys.executable).parent)) is None:
        pytest.skip('colcon is not installed')
    workspace = checkout.parent
    wheels = {'AMENT_PREFIX_PATH': sys.prefix, 'CMAKE_PREFIX_PATH': sys.prefix}
    ros = {} if 'ROS_DISTRO' in os.environ else wheels
    run('colcon', 'build', '--cmake-args', f'-DPython3_EXECUTABLE={sys.executable}', cwd=workspace, **ros)
    prefix = workspace / 'install' / 'seg_ros'
    use = f'. {workspace}/install/setup.sh && python -c "{USE}" && which seg_ros'
    found = run('sh', '-c', use, cwd='/', **ros).splitlines()
    assert found
    assert all(line.startswith(str(prefix)) for line in found)
    for program in ('seg_node', 'seg_ros'):
        assert os.access(prefix / 'lib' / 'seg_ros' / program, os.X_OK)
    run('colcon', 'test', cwd=workspace, **ros, PYTEST_ADDOPTS='-k test_package')
    summary = run('colcon', 'test-result', '--verbose', cwd=workspace, **ros)
    assert ' 0 failures' in summary
    assert 'Summary: 0 tests' not in summary


@pytest.mark.slow
def test_pip_installs_into_a_fresh_environment(checkout, tmp_path):
    """Isolated build, ROS from the extra; torch first, so that pip does not choose a larger build of it."""
    prefix = tmp_path / 'venv'
    venv.create(prefix, with_pip=True)
    python = prefix / 'bin' / 'python'
    pip = (python, '-m', 'pip', 'install', '--quiet')
    run(*pip, os.environ.get('SEG_ROS_TORCH', 'torch==2.13.0'), cwd='/')
    run(*pip, f'{checkout}[ros]', cwd='/')
    shutil.rmtree(checkout)
    found = run(python, '-c', USE, cwd='/').splitlines()
    assert found
    assert all(line.startswith(f'{prefix}/share/seg_ros') for line in found)
    for program in ('bin/seg_ros', 'bin/seg_node', 'lib/seg_ros/seg_ros', 'lib/seg_ros/seg_node'):
        assert os.access(prefix / program, os.X_OK)
    run(prefix / 'bin' / 'seg_ros', '--help', cwd='/')


@pytest.mark.slow
def test_pip_builds_without_messages_when_told_to(checkout, tmp_path):
    pip = (sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', tmp_path)
    run(*pip, checkout, cwd='/', SEG_ROS_WITHOUT_MESSAGES='1')
    (wheel,) = tmp_path.glob('*.whl')
    assert wheel.name.endswith('-py3-none-any.whl')
    names = zipfile.ZipFile(wheel).namelist()
    assert 'seg_ros/resources.py' in names
    for path in ('seg_ros/py.typed', *(ROOT / 'seg_ros/reports/templates').iterdir()):
        assert str(path).removeprefix(f'{ROOT}/') in names
    assert not [name for name in names if name.endswith('.so') or name.startswith('seg_ros/msg')]


@pytest.mark.parametrize('own', [{}, {'GOMP_SPINCOUNT': '7'}, {'OMP_WAIT_POLICY': 'active'}])
def test_threads_of_openmp_sleep_soon_unless_the_user_says_otherwise(own: dict[str, str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')}
    code = (
        'import os; from seg_ros.inference.process import limit_thread_spinning; limit_thread_spinning(); '
        'print(os.environ.get("GOMP_SPINCOUNT"))'
    )
    words = [sys.executable, '-c', code]
    done = subprocess.run(words, env=environment | own, capture_output=True, text=True, check=True)
    expected = '10000' if not own else own.get('GOMP_SPINCOUNT', 'None')
    assert done.stdout.strip() == expected
