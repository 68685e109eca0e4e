"""Private folders for caches: compiled code, and the measured times of backends.

Code is loaded from these folders, so a folder is used only if it belongs to this user and nobody else can
write to it or replace it. The rules are those of ssh for its files: every folder on the way belongs to this
user or to root, and is not writable for others, unless its sticky bit protects the entries.
"""

import atexit
import logging
import os
import shutil
import stat
import tempfile
import threading
from functools import cache
from pathlib import Path

_log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 64 << 20
"""Compiled graphs and kernels of one model take about half of this."""
_TRIAL = b'\0' * (1 << 16)
_MOST_LINKS = 40
_NO_FOLDER = Path('/')

_lock = threading.RLock()


def cache_folder(name: str) -> Path | None:
    """Private folder for one kind of cache, mode 0700; made when it is first asked for.

    It lies in ``$XDG_CACHE_HOME/seg_ros`` or ``~/.cache/seg_ros``. If that folder cannot be used, one warning
    says why, and a fresh temporary folder takes its place, which is removed when the process ends.

    Args:
        name: Name of the folder, e.g. ``'numba'``.

    Returns:
        The folder; None if nothing can be written.
    """
    root = _root()
    return None if root is None else _made(root / name)


def is_kept() -> bool:
    """Whether caches are found again by the next process."""
    return _root() is not None and not _is_temporary()


def library_folder(variable: str, name: str) -> Path | None:
    """The folder that an environment variable of a library gives, if it is private; else the one of ours.

    Args:
        variable: Name of the variable, e.g. ``'NUMBA_CACHE_DIR'``.
        name: Name of our folder, see :func:`cache_folder`.

    Returns:
        The folder; None if nothing can be written.
    """
    with _lock:
        given = os.environ.get(variable, '')
        folder = _folder_of_user(variable, given) if given not in ('', str(_NO_FOLDER)) else None
        return folder or cache_folder(name)


def provide_folders() -> None:
    """Give torch and compilers private folders, by the variables that they and their child processes read.

    To be called before torch runs a network: even plain torch makes Inductor's folder then, by default in the
    shared temporary folder under a name that others can guess. Where nothing can be written, the variables
    name a folder that exists, since torch could not be used otherwise.
    """
    with _lock:
        try:
            tempfile.gettempdir()
        except FileNotFoundError:  # a read-only system
            temporary = cache_folder('tmp')
            tempfile.tempdir = str(temporary or _NO_FOLDER)
            if temporary is not None:
                os.environ['TMPDIR'] = str(temporary)
        for variable, name in (('TORCHINDUCTOR_CACHE_DIR', 'inductor'), ('TRITON_CACHE_DIR', 'triton')):
            os.environ[variable] = str(library_folder(variable, name) or _NO_FOLDER)


def remove_temporary_folder() -> None:
    """Remove the temporary folder, if there is one; for a process that ends without its exit handlers."""
    for place, (folder, is_temporary) in _chosen.items():
        if folder is not None and is_temporary and place[0] == os.getpid():
            shutil.rmtree(folder, ignore_errors=True)


def why_not_private(folder: Path) -> str | None:
    """Reason why others could change the content of a folder that exists; None if they cannot.

    Links are followed, and each folder on the way is checked.

    Args:
        folder: Absolute path.

    Raises:
        OSError: The folder does not exist or cannot be looked at.
    """
    passed = _folders_passed(folder)
    for path in passed:
        status = path.lstat()
        if status.st_uid not in (0, os.geteuid()):
            return f'{path} belongs to another user'
        if stat.S_ISLNK(status.st_mode):
            continue
        is_protected = bool(status.st_mode & stat.S_ISVTX) and path != passed[-1]
        if _is_writable_for_others(status) and not is_protected:
            return f'{path} is writable for other users'
    if passed[-1].lstat().st_uid != os.geteuid():
        return f'{passed[-1]} belongs to another user'
    return None


def _is_writable_for_others(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_group_of_one(status.st_gid)


@cache
def _is_group_of_one(number: int) -> bool:
    """Whether a group has this user as its only member, as systems with a group for each user make it."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _folders_passed(folder: Path) -> list[Path]:
    """Every folder and link on the way to a folder, the real folder last."""
    rest, here, n_links = list(folder.parts[1:]), Path('/'), 0
    passed = [here]
    while rest:
        part = rest.pop(0)
        if part == '..':
            here = here.parent
        elif (here / part).is_symlink():
            n_links += 1
            if n_links > _MOST_LINKS:
                raise OSError(f'too many links in {folder}')
            passed.append(here / part)
            target = (here / part).readlink()
            rest = [*(target.parts[1:] if target.is_absolute() else target.parts), *rest]
            here = Path('/') if target.is_absolute() else here
        else:
            here = here / part
            passed.append(here)
    return [*passed, here]


@cache
def _folder_of_user(variable: str, given: str) -> Path | None:
    """The folder that a variable names, made if needed; None, with a warning, if it cannot be used."""
    folder = Path.cwd() / given
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = why_not_private(folder)
        if reason is None:
            _try_to_write(folder)
            return folder
    except OSError as err:
        reason = str(err)
    _log.warning('%s is not used: %s; compiled code is kept elsewhere', variable, reason)
    return None


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder if why_not_private(folder) is None else None
    except OSError:
        return None


_Place = tuple[int, str | None, str | None]
_chosen: dict[_Place, tuple[Path | None, bool]] = {}
"""Process and variables -> folder of all caches, and whether it is temporary; a forked child chooses anew."""


def _place() -> _Place:
    return os.getpid(), os.environ.get('XDG_CACHE_HOME'), os.environ.get('HOME')


def _root() -> Path | None:
    with _lock:
        place = _place()
        if place not in _chosen:
            _chosen[place] = _choose_root()
        return _chosen[place][0]


def _is_temporary() -> bool:
    return _chosen[_place()][1]


def _choose_root() -> tuple[Path | None, bool]:
    try:
        return _users_root(), False
    except OSError as err:
        reason = err
    try:
        folder = Path(tempfile.mkdtemp(prefix='seg_ros-'))
        problem = why_not_private(folder)
        if problem:
            shutil.rmtree(folder, ignore_errors=True)
            raise OSError(problem)
        _try_to_write(folder)
    except OSError as err:
        _log.warning(
            'nothing compiled or measured is kept: %s; %s. Set XDG_CACHE_HOME to a folder of yours',
            reason,
            err,
        )
        return None, True
    atexit.register(remove_temporary_folder)
    _log.warning(
        'compiled code is kept in %s until the process ends: %s. Set XDG_CACHE_HOME to a folder of yours',
        folder,
        reason,
    )
    return folder, True


def _users_root() -> Path:
    """The folder of this user.

    Raises:
        OSError: It cannot be made, written to, or is not private.
    """
    base = _users_cache()
    folder = base / 'seg_ros'
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    reason = why_not_private(folder)
    if reason:
        raise OSError(reason)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    _try_to_write(folder)
    return folder


def _users_cache() -> Path:
    """Folder of the caches of all programs of this user, by the XDG Base Directory Specification."""
    given = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if given.is_absolute():  # by the specification relative paths are ignored
        return given
    try:
        home = Path.home() if os.environ.get('HOME') != '' else Path()  # Python takes '' for '/'
    except RuntimeError as err:
        raise OSError('this user has no home folder') from err
    if not home.is_absolute():
        raise OSError(f"the home folder of this user is '{home}'")
    return home / '.cache'


def _try_to_write(folder: Path) -> None:
    """Write a file and remove it.

    Raises:
        OSError: Nothing can be written, or little room is left.
    """
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise OSError(f'{folder} has {free >> 20} MiB left; expected {_LEAST_FREE_BYTES >> 20} MiB or more')
    with tempfile.TemporaryFile(dir=folder) as trial:
        trial.write(_TRIAL)
