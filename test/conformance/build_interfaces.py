"""Builds a package of interfaces, for tests that need one without a wheel: build_interfaces.py SOURCE TARGET.

SOURCE has the name of the package and holds msg/ or srv/ and a file `depends` with one package a line.
Only the C and Python parts are made, which is all that rclpy needs. TARGET becomes a folder for sys.path,
with lib/ for LD_LIBRARY_PATH beside it and share/ for AMENT_PREFIX_PATH.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

GENERATORS = [
    'rosidl_cmake',
    'rosidl_generator_c',
    'rosidl_generator_type_description',
    'rosidl_typesupport_introspection_c',
    'rosidl_typesupport_fastrtps_c',
    'rosidl_typesupport_c',
    'rosidl_generator_py',
]
PROJECT = """
cmake_minimum_required(VERSION 3.22)
project({name} C CXX)
find_package(ament_cmake REQUIRED)
{find}
file(GLOB interfaces RELATIVE "${{CMAKE_CURRENT_SOURCE_DIR}}" "msg/*.msg" "srv/*.srv")
rosidl_generate_interfaces(${{PROJECT_NAME}} ${{interfaces}} DEPENDENCIES {depends})
# Targets in the PyPI wheels of ROS name include folders of the machine that built them.
get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS targets)
  get_target_property(folders ${{target}} INTERFACE_INCLUDE_DIRECTORIES)
  set(existing "")
  foreach(folder IN LISTS folders)
    if(folder MATCHES "\\\\$<" OR EXISTS "${{folder}}")
      list(APPEND existing "${{folder}}")
    endif()
  endforeach()
  set_target_properties(${{target}} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${{existing}}")
endforeach()
ament_package()
"""
PACKAGE = """
<package format="3"><name>{name}</name><version>0.0.0</version><description>Interfaces.</description>
<maintainer email="a@b.example">Nobody</maintainer><license>Apache-2.0</license>
{depends}<member_of_group>rosidl_interface_packages</member_of_group>
<export><build_type>ament_cmake</build_type></export></package>
"""


def build(source: Path, target: Path) -> None:
    depends = (source / 'depends').read_text().split()
    with TemporaryDirectory(prefix='interfaces_') as scratch:
        project, stage = Path(scratch) / source.name, Path(scratch) / 'stage'
        shutil.copytree(source, project)
        find = '\n'.join(f'find_package({name} REQUIRED)' for name in [*GENERATORS, *depends])
        (project / 'CMakeLists.txt').write_text(
            PROJECT.format(name=source.name, find=find, depends=' '.join(depends))
        )
        tags = ''.join(f'<depend>{name}</depend>' for name in depends)
        (project / 'package.xml').write_text(PACKAGE.format(name=source.name, depends=tags))
        run_cmake(project, Path(scratch) / 'build', stage)
        lay_out(source.name, stage, target)


def run_cmake(project: Path, build: Path, stage: Path) -> None:
    prefixes = ros_prefixes()
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', os.defpath)])
    env = {**os.environ, 'AMENT_PREFIX_PATH': os.pathsep.join(prefixes), 'PATH': tools}
    configure = [
        *('cmake', '-S', str(project), '-B', str(build)),
        *(['-G', 'Ninja'] if shutil.which('ninja', path=tools) else []),
        '-DCMAKE_BUILD_TYPE=Debug',  # compiles faster
        '-DBUILD_TESTING=OFF',
        f'-DCMAKE_INSTALL_PREFIX={stage}',
        f'-DCMAKE_PREFIX_PATH={";".join(prefixes)}',
        f'-DPython3_EXECUTABLE={sys.executable}',
        '-DCMAKE_INSTALL_RPATH=$ORIGIN;$ORIGIN/../lib',
    ]
    for command in (configure, ['cmake', '--build', str(build)], ['cmake', '--install', str(build)]):
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f'{" ".join(command[:3])} failed:\n{done.stdout}{done.stderr}')


def ros_prefixes() -> list[str]:
    """Install prefixes that were sourced, then that of the PyPI wheels."""
    sourced = [path for path in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if path]
    generator = find_spec('rosidl_adapter')
    if generator is None or generator.origin is None:
        sys.exit('rosidl_adapter is not installed')
    above = [str(path) for path in Path(generator.origin).parents if (path / 'share/rosidl_adapter').is_dir()]
    return list(dict.fromkeys([*sourced, *above[:1]]))


def lay_out(name: str, stage: Path, target: Path) -> None:
    (package,) = stage.glob(f'**/*-packages/{name}')
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(package, target / name, dirs_exist_ok=True)
    shutil.copytree(
        stage / 'lib', target / 'lib', dirs_exist_ok=True, ignore=shutil.ignore_patterns('python*')
    )
    shutil.copytree(stage / 'share', target / 'share', dirs_exist_ok=True)


if __name__ == '__main__':
    build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
