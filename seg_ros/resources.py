"""Files that come with seg_ros (``config/``, ``launch/``, ``models/``), and names that stand for them."""

import ctypes
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from seg_ros.errors import UnavailableError, UnknownNameError

_PACKAGE = Path(__file__).parent


def resource(relative: str) -> Path:
    """Find a file or folder that comes with seg_ros, in a checkout and in an install by colcon or pip.

    No ROS is needed: every install puts the files under ``share/seg_ros`` of the same prefix as this module,
    as the ament index of a sourced workspace says too.

    Args:
        relative: Path below the package share, e.g. ``'config/labels/camvid11.yaml'``.

    Returns:
        The path, which exists.

    Raises:
        UnavailableError: The file does not exist; the message lists the folders searched.
    """
    folders = _resource_folders()
    for folder in folders:
        if (folder / relative).exists():
            return folder / relative
    raise UnavailableError(
        f"'{relative}' does not come with this installation of seg_ros; looked in "
        f'{", ".join(map(str, folders)) or "no folder: none exists near " + str(_PACKAGE)}; '
        'check the name, or build and install the package again'
    )


def find_file(
    name: str | Path, folder: str, suffixes: tuple[str, ...], kind: str, *, root: Path | None = None
) -> Path:
    """Path of a file that is given by its path or by the name of a shipped one.

    A ``name`` with a slash or one of the suffixes is a path; if nothing lies there, the shipped file of that
    name is taken. Any other ``name`` is that of a shipped file, without suffix.

    Args:
        name: Path or name, as the user wrote it.
        folder: Folder of the shipped files, e.g. ``'models'``.
        suffixes: Suffixes of such files, e.g. ``('.yaml', '.yml')``; shipped files have the first.
        kind: Kind of file, for the error message.
        root: Folder that relative paths start from; None = the current folder.

    Returns:
        A path; one that the user wrote may not exist.

    Raises:
        UnknownNameError: No shipped file has that name; the message lists those that exist.
        UnavailableError: The path begins with ``~user``, and that user has no home folder.
    """
    text = str(name)
    if isinstance(name, Path) or '/' in text or text.endswith(suffixes):
        path = (root or Path()) / _expanded(Path(name))
        shipped = _shipped(folder, suffixes[0]).get(Path(text).stem) if '/' not in text else None
        return shipped if shipped and not path.exists() else path
    shipped_files = _shipped(folder, suffixes[0])
    if text not in shipped_files:
        raise UnknownNameError(kind, text, list(shipped_files))
    return shipped_files[text]


def _expanded(path: Path) -> Path:
    """The path with ``~`` replaced by the home folder."""
    try:
        return path.expanduser()
    except RuntimeError as err:
        raise UnavailableError(f"path '{path}': {err}; write the folder in full") from err


def _shipped(folder: str, suffix: str) -> dict[str, Path]:
    """Shipped files of a folder, by name without suffix."""
    return {path.stem: path for path in sorted(resource(folder).glob(f'*{suffix}'))}


def _resource_folders() -> list[Path]:
    """The checkout that holds this module, else the share folders of the prefixes above it, nearest first."""
    if (_PACKAGE.parent / 'package.xml').is_file():
        return [_PACKAGE.parent]
    return [
        parent / 'share' / 'seg_ros' for parent in _PACKAGE.parents if (parent / 'share' / 'seg_ros').is_dir()
    ]


def version() -> str:
    """The version in package.xml: from the installed metadata or, in a bare checkout, from the file."""
    try:
        return metadata.version('seg_ros')
    except metadata.PackageNotFoundError:
        return ElementTree.parse(_PACKAGE.parent / 'package.xml').findtext('version', '')


def load_message_libraries() -> None:
    """Load the libraries of the messages that a pip install keeps in ``seg_ros/_lib``.

    A pip install calls this when ``seg_ros.msg`` or ``seg_ros.srv`` is imported. ROS opens the libraries
    later by their bare names, which succeeds only for libraries that are loaded already or lie on
    LD_LIBRARY_PATH. A
    colcon install needs no such folder: its setup script sets that path.
    """
    for kind in (
        'rosidl_generator_c',
        'rosidl_typesupport_fastrtps_c',
        'rosidl_typesupport_introspection_c',
        'rosidl_typesupport_c',
    ):
        library = _PACKAGE / '_lib' / f'libseg_ros__{kind}.so'
        if library.exists():
            try:
                ctypes.CDLL(str(library))
            except OSError:
                return  # without ROS the rest of seg_ros works; importing seg_ros.msg names the missing part
