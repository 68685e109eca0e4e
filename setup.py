"""The pip build: setuptools for the Python files, CMakeLists.txt for the messages.

``colcon build`` never runs this file. docs/decisions/0001-one-package-two-builds.md says why it is as it is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
WITH_MESSAGES = os.environ.get('SEG_ROS_WITHOUT_MESSAGES', '0') in ('', '0')
SHARE = 'share/seg_ros'
LOAD_LIBRARIES = """from seg_ros.resources import load_message_libraries

load_message_libraries()

"""


def ros_prefixes() -> list[Path]:
    """Install prefixes to build the messages against: the sourced ones, then that of the PyPI wheels."""
    sourced = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    distributions = [p for p in sourced if (p / 'share' / 'rosidl_adapter').is_dir()]
    generator = find_spec('rosidl_adapter')
    if generator is None or generator.origin is None:
        found = None
    else:
        above = Path(generator.origin).parents
        found = next((p for p in above if (p / 'share' / 'rosidl_adapter').is_dir()), None)
    if distributions and found not in distributions:
        sys.exit(
            f'seg_ros: a ROS distribution is sourced ({distributions[0]}), but this build does not see it. '
            'Run "colcon build", or "pip install --no-build-isolation ." with the Python of the distribution.'
        )
    if found is None:
        sys.exit(
            'seg_ros: no ROS message generators found. Source a ROS distribution and add '
            '--no-build-isolation; on Linux x86_64 pip fetches them when that option is left out; or set '
            'SEG_ROS_WITHOUT_MESSAGES=1 for networks, training and evaluation without the node.'
        )
    return list(dict.fromkeys([*sourced, found]))


class BuildMessages(build_ext):
    """Build the messages with CMake and lay them into the Python package."""

    def run(self) -> None:
        stage = self._cmake_install(Path(self.build_temp).resolve())
        (built,) = stage.glob('**/*-packages/seg_ros')
        package = HERE / 'seg_ros' if self.inplace else Path(self.build_lib) / 'seg_ros'
        for old in (*(package / name for name in ('msg', 'srv', '_lib')), *package.glob('*.so')):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        for kind in ('msg', 'srv'):
            if (built / kind).is_dir():
                ignored = shutil.ignore_patterns('*.c', '__pycache__')
                shutil.copytree(built / kind, package / kind, ignore=ignored)
                generated = package / kind / '__init__.py'
                generated.write_text(LOAD_LIBRARIES + generated.read_text())
        for extension in built.glob('*.so'):
            shutil.copy2(extension, package)
        (package / '_lib').mkdir()
        for library in (stage / 'lib').glob('*.so'):
            if not library.stem.endswith('_cpp'):
                shutil.copy2(library, package / '_lib')
        self.distribution.data_files += list(index_files(stage))

    def _cmake_install(self, folder: Path) -> Path:
        """Configure, build and install CMakeLists.txt below ``folder``; return the prefix installed to."""
        build, stage = folder / 'cmake', folder / 'stage'
        prefixes = [str(p) for p in ros_prefixes()]
        tools = os.pathsep.join([os.environ.get('PATH', os.defpath), str(Path(sys.executable).parent)])
        env = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(prefixes), PATH=tools)
        configure = [
            *('cmake', '-S', str(HERE), '-B', str(build)),
            *(['-G', 'Ninja'] if shutil.which('ninja', path=tools) else []),
            '-DBUILD_TESTING=OFF',
            '-DCMAKE_BUILD_TYPE=Release',
            f'-DCMAKE_INSTALL_PREFIX={stage}',
            f'-DCMAKE_PREFIX_PATH={";".join(prefixes)}',
            f'-DPython3_EXECUTABLE={sys.executable}',
            # for seg_ros/*.so and seg_ros/_lib/*.so: each other, and <prefix>/lib, where the wheels put ROS
            '-DCMAKE_INSTALL_RPATH=$ORIGIN;$ORIGIN/_lib;$ORIGIN/../../..;$ORIGIN/../../../..',
        ]
        for command in (configure, ['cmake', '--build', str(build)], ['cmake', '--install', str(build)]):
            if subprocess.run(command, env=env).returncode:
                sys.exit(f'seg_ros: "{" ".join(command[:3])}" failed; see the output above')
        return stage

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class DistributionWithMessages(Distribution):
    """Makes the wheel one for this platform."""

    def has_ext_modules(self) -> bool:
        return True


def index_files(stage: Path) -> Iterator[tuple[str, list[str]]]:
    """The entries of the ament index by which ROS tools find the package and its interfaces."""
    for kind in ('packages', 'rosidl_interfaces'):
        folder = f'share/ament_index/resource_index/{kind}'
        yield folder, [str(stage / folder / 'seg_ros')]


def shared_files(*folders: str) -> Iterator[tuple[str, list[str]]]:
    """The files of top-level folders, with their sub-folders, under share/seg_ros."""
    for folder in sorted(p for top in folders for p in (HERE / top, *(HERE / top).glob('**')) if p.is_dir()):
        files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix != '.pyc')
        if files:
            relative = folder.relative_to(HERE)
            yield f'{SHARE}/{relative}', [str(p.relative_to(HERE)) for p in files]


data_files = [(SHARE, ['package.xml', 'LICENSE']), *shared_files('config', 'launch', 'models')]
messages = {}
if WITH_MESSAGES:
    data_files += [('lib/seg_ros', ['scripts/seg_node', 'scripts/seg_ros']), *shared_files('msg', 'srv')]
    messages = {
        'cmdclass': {'build_ext': BuildMessages},
        'distclass': DistributionWithMessages,
        'ext_modules': [Extension('seg_ros.messages', sources=[])],
    }

with TemporaryDirectory(prefix='seg_ros_') as scratch:
    # Nothing is built in the checkout: there, a module deleted since the last build would end in the wheel.
    setup(
        version=ElementTree.parse(HERE / 'package.xml').findtext('version'),
        data_files=data_files,
        options={'build': {'build_base': scratch}},
        **messages,
    )
