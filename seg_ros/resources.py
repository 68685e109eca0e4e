"""Where the files that come with seg_ros lie: ``config/``, ``launch/`` and ``models/``."""

from pathlib import Path

from seg_ros.errors import UnavailableError

_PACKAGE = Path(__file__).parent


def resource(relative: str) -> Path:
    """Find a file or folder that comes with seg_ros, in a checkout and in an install by colcon or pip.

    No ROS is needed: every install puts the files under ``share/seg_ros`` of the same prefix as this module,
    which is what the ament index of a sourced workspace says as well.

    Args:
        relative: path below the package share, e.g. ``'config/labels/camvid11.yaml'``.

    Returns:
        The path, which exists.

    Raises:
        UnavailableError: there is no such file; the message lists the folders searched.
    """
    folders = _resource_folders()
    for folder in folders:
        if (folder / relative).exists():
            return folder / relative
    raise UnavailableError(
        f"'{relative}' does not come with this installation of seg_ros; looked in "
        f'{", ".join(map(str, folders)) or "no folder: there is none near " + str(_PACKAGE)}; '
        'check the name, or build and install the package again'
    )


def _resource_folders() -> list[Path]:
    """The checkout that this module lies in, else the share folders of the prefixes above, nearest first."""
    if (_PACKAGE.parent / 'package.xml').is_file():
        return [_PACKAGE.parent]
    return [
        parent / 'share' / 'seg_ros' for parent in _PACKAGE.parents if (parent / 'share' / 'seg_ros').is_dir()
    ]
