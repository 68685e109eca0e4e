"""Model names and paths."""

from pathlib import Path

from seg_ros.resources import find_file, resource

SUFFIX = '.safetensors'


def find_model(name: str | Path) -> Path:
    """Path of a model file; see :func:`seg_ros.resources.find_file`.

    Args:
        name: Path of a file, or the name of a shipped model such as ``'lite_camvid'``.

    Raises:
        UnknownNameError: No shipped model has that name; the message lists those that exist.
    """
    return find_file(name, 'models', (SUFFIX,), 'model')


def is_shipped_name(name: str | Path, path: Path) -> bool:
    """Whether a model was asked for by the name of a shipped one, and not by its path.

    Args:
        name: Name or path, as for :func:`find_model`.
        path: Path that :func:`find_model` found for it.
    """
    return '/' not in str(name) and path.parent == resource('models')


def shipped_models() -> list[Path]:
    """Paths of the shipped model files, sorted by name."""
    return sorted(resource('models').glob(f'*{SUFFIX}'))
