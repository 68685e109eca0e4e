"""Real-time semantic segmentation for ROS 2.

Importing this is cheap: no ROS, no torch. ``seg_ros.msg`` holds the messages, built from ``msg/``.
"""

import ctypes
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import extend_path
from xml.etree import ElementTree

# The built messages may lie elsewhere on sys.path than these files: a colcon workspace beside a checkout.
__path__ = extend_path(__path__, __name__)

_HERE = Path(__file__).parent


def _read_version() -> str:
    """The version in package.xml, by way of the installed metadata or, in a bare checkout, from the file."""
    try:
        return version('seg_ros')
    except PackageNotFoundError:
        return ElementTree.parse(_HERE.parent / 'package.xml').findtext('version', '')


def _load_message_libraries() -> None:
    """Load the libraries of the messages that a pip install keeps in ``seg_ros/_lib``.

    ROS opens them later by their bare names, which only succeeds for libraries that are already loaded or lie
    on LD_LIBRARY_PATH. A colcon install has no such folder: its setup script sets that path.
    """
    for kind in (
        'rosidl_generator_c',
        'rosidl_typesupport_fastrtps_c',
        'rosidl_typesupport_introspection_c',
        'rosidl_typesupport_c',
    ):
        library = _HERE / '_lib' / f'libseg_ros__{kind}.so'
        if library.exists():
            try:
                ctypes.CDLL(str(library))
            except OSError:
                return  # no ROS here: the rest of seg_ros works; importing seg_ros.msg says what is missing


def _let_idle_threads_sleep() -> None:
    """Keep OpenMP's threads from spinning for milliseconds after the network, where labels are computed next.

    They still spin long enough to be awake for the network's next loop. GNU OpenMP reads this when torch is
    loaded; what the user has set is kept.
    """
    if not {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & os.environ.keys():
        os.environ['GOMP_SPINCOUNT'] = '10000'


__version__ = _read_version()
_let_idle_threads_sleep()
_load_message_libraries()
