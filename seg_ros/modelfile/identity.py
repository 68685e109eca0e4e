"""Bytes and identity of a model file: its path, its SHA-256 and its size.

Everything that is cached for a model goes by this identity, and shipped models are recognised by it.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.find import find_model, is_shipped_name
from seg_ros.modelfile.shipped import SHIPPED
from seg_ros.userfiles.reading import kind_of

SIZE_LIMIT = 2**30
"""Maximum number of bytes of a model file."""


@dataclass(frozen=True)
class ModelIdentity:
    """Identity of a model file.

    Attributes:
        path: Path of the file.
        digest: SHA-256 of all bytes, hexadecimal.
        n_bytes: Size in bytes.
    """

    path: Path
    digest: str
    n_bytes: int


def identify_model(name: str | Path) -> ModelIdentity:
    """Identity of a model file, without reading its content as a model.

    Args:
        name: Path of the file, or the name of a shipped model such as ``'lite_camvid'``.

    Raises:
        ModelFileError: The file is missing, too large or cannot be read, or is not the shipped model of its
            name.
        UnknownNameError: No shipped model has that name.
    """
    return read_model_file(name)[0]


def read_model_file(name: str | Path) -> tuple[ModelIdentity, bytearray]:
    """Read all bytes of a model file once.

    Args:
        name: As for :func:`identify_model`, which raises the same errors.

    Returns:
        Its identity, and its bytes.
    """
    path = find_model(name)
    try:
        content = _read(path)
    except ModelFileError as err:
        raise ModelFileError(f'model file {path}: {err}') from err
    except (OSError, ValueError, MemoryError) as err:
        raise ModelFileError(f'model file {path} cannot be read: {err}') from err
    digest = hashlib.sha256(content).hexdigest()
    stated = SHIPPED.get(path.stem) if is_shipped_name(name, path) else None
    if stated not in (None, digest):
        raise ModelFileError(
            f'model file {path} has digest {digest[:16]}...; the shipped model {path.stem} has '
            f'{stated[:16]}...: the file was damaged or replaced. Install seg_ros again, or give the path '
            'of your own model'
        )
    return ModelIdentity(path, digest, len(content)), content


def _read(path: Path) -> bytearray:
    """All bytes of a regular file; neither a pipe nor a device blocks the reader."""
    try:
        words = kind_of(path.stat())
    except FileNotFoundError as err:
        raise ModelFileError('the file does not exist; give a path, or the name of a shipped model') from err
    if words:
        raise ModelFileError(f'it is {words}; expected a model file')
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, 'rb', buffering=0) as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise ModelFileError('it is not a regular file')
        if state.st_size > SIZE_LIMIT:
            raise ModelFileError(f'it has {state.st_size} bytes; expected {SIZE_LIMIT} at most')
        content = bytearray(state.st_size)
        place, view = 0, memoryview(content)
        while place < len(content):
            n_read = file.readinto(view[place:])
            if not n_read:
                raise ModelFileError(f'it became shorter while it was read, at byte {place}; try again')
            place += n_read
    return content
