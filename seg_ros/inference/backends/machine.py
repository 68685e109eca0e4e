"""Everything about a computer that decides which backend is the fastest: processor, cores and versions."""

import importlib.metadata
import os
import platform
import shutil
from functools import cache
from pathlib import Path

from seg_ros import __version__
from seg_ros._numba import n_cores

_PACKAGES = ('torch', 'onnxruntime', 'onnxruntime-gpu', 'onnxscript', 'openvino', 'tensorrt')
_X86 = ('x86_64', 'amd64', 'i386', 'i686')
_COMPILERS = ('g++', 'clang++', 'c++')


def describe_machine(device: str) -> dict[str, str]:
    """Properties of this computer by name; two computers with equal ones run a model equally fast.

    Args:
        device: Device that the model runs on, e.g. ``'cuda:0'``.
    """
    return {
        'computer': platform.node(),
        'processor': _processor(),
        'cores': str(n_cores()),
        'device': _device(device),
        'compiler': _compiler(),
        'python': platform.python_version(),
        'seg_ros': str(__version__),
        **{name: version_of(name) for name in _PACKAGES},
        'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', ''),
    }


def is_x86() -> bool:
    """Whether the processor is one of Intel, AMD or their like."""
    return platform.machine().lower() in _X86


@cache
def _processor(path: Path = Path('/proc/cpuinfo')) -> str:
    """Model of the processor; ``platform.processor()`` is empty on most Linux systems."""
    try:
        for line in path.read_text(errors='replace').splitlines():
            name, _, value = line.partition(':')
            if name.strip() in ('model name', 'Model', 'Hardware'):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _device(name: str) -> str:
    if not name.startswith('cuda'):
        return name
    import torch

    return f'{name}: {torch.cuda.get_device_name(name)}'


def _compiler() -> str:
    """Path of the C++ compiler and the time of its last change, which an update changes."""
    for name in _COMPILERS:
        path = shutil.which(name)
        if path:
            real = Path(path).resolve()
            return f'{real} {real.stat().st_mtime_ns // 10**9}'
    return 'none'


@cache
def version_of(package: str) -> str:
    """Version of an installed package; 'none' if it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'none'
