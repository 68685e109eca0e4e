"""Folders that model files may come from when somebody on the network names them."""

import contextlib
import os
from pathlib import Path

from seg_ros.errors import ParameterError, SegRosError
from seg_ros.inference.settings import Settings
from seg_ros.modelfile.find import find_model
from seg_ros.resources import resource


def allowed_folders(settings: Settings) -> set[Path]:
    """Folders of model files that may be set while a node runs.

    Args:
        settings: Values of the parameters at the start; whoever starts a node may read what it reads.

    Returns:
        The folders in ``model_folders``, that of the model, and that of the shipped models, without symbolic
        links; subfolders are not allowed.
    """
    folders = {_real(resource('models'))}
    folders |= {_real(Path(name)) for name in settings.model_folders.split(os.pathsep) if name}
    with contextlib.suppress(SegRosError, OSError):  # told when the model is loaded
        model = _real(find_model(settings.model))
        if model.is_file():
            folders.add(model.parent)
    return folders


def check_folder(name: str, folders: set[Path]) -> None:
    """Refuse a model file outside the allowed folders, whether it exists or not.

    Args:
        name: Name of a shipped model, or a path; symbolic links count as the files that they lead to.
        folders: Allowed folders, as :func:`allowed_folders` gives them.

    Raises:
        ParameterError: The file lies outside.
        UnknownNameError: No shipped model has that name.
    """
    try:
        path = _real(find_model(name))
    except SegRosError as err:
        raise ParameterError(str(err)) from err
    if path.parent not in folders:
        raise ParameterError(
            f'model {name!r} lies outside the folders from which a running node loads models '
            f'({", ".join(sorted(map(str, folders)))}); start the node with it, or name its folder in the '
            'parameter model_folders'
        )


def _real(path: Path) -> Path:
    """Absolute path without symbolic links and '..'."""
    try:
        return Path(os.path.realpath(path.expanduser()))
    except (RuntimeError, ValueError) as err:  # no such home folder; a zero byte
        raise ParameterError(f'path {str(path)!r}: {err}') from err
