"""Writing files where users want them: whole or not at all, and never in place of a pipe or device."""

import contextlib
import os
from pathlib import Path

from seg_ros.userfiles.reading import kind_of, shown_path


def check_target(path: Path, error: type[Exception]) -> Path:
    """Path that a file may be written to: that of the file that a symbolic link leads to.

    Args:
        path: Path that the user wrote.
        error: Exception to raise.

    Raises:
        error: It is not the name of a file, or something else than a file has this name.
    """
    try:
        target = Path(os.path.realpath(path))
        words = kind_of(target.stat())
    except FileNotFoundError:
        words = ''
    except (OSError, ValueError) as err:
        raise error(f'{shown_path(path)} cannot be written: {err}; an existing file is unchanged') from err
    if words or not path.name:
        raise error(f'{shown_path(path)} is {words or "a folder"}; expected the name of a file to write')
    return target


def replace_file(path: Path, content: bytes, error: type[Exception]) -> None:
    """Write a file; an existing one is replaced only when everything is on disk.

    Args:
        path: Path of the file. Folders that are missing are made.
        content: All bytes.
        error: Exception to raise.

    Raises:
        error: The file cannot be written.
    """
    target = check_target(path, error)
    partial = target.with_name(target.name + '.partial')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as err:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise error(f'{shown_path(path)} cannot be written; an existing file is unchanged: {err}') from err
