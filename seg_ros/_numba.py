"""Loops compiled by Numba, and threads that run them."""

import contextlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any, TypeVar, cast

from seg_ros._caches import library_folder
from seg_ros._cores import usable_cores

_log = logging.getLogger(__name__)
_Function = TypeVar('_Function', bound=Callable[..., Any])

# Fused multiply-add only: other fast-math options ignore infinity and NaN.
_FAST_MATH = {'contract'}


def compiled(function: _Function, *, inline: bool = False) -> _Function:
    """``function`` compiled by Numba at its first call, without the GIL, cached on disk if possible.

    After a change to its file Numba compiles it again, but not after a change to another file with a function
    that it calls. Delete ``~/.cache/seg_ros/numba`` then.

    Args:
        function: Function of types that Numba supports.
        inline: Whether to inline it into its callers; for small functions that are called very often.

    Raises:
        ImportError: Numba is missing.
    """
    from numba import njit

    done: Any = njit(nogil=True, fastmath=_FAST_MATH, forceinline=inline)(function)
    stored = _stored(function)
    if stored is not None:
        done._cache = stored
    return cast(_Function, done)


def compiled_where_possible(function: _Function) -> _Function:
    """``function`` compiled as by :func:`compiled`, or unchanged if Numba is missing."""
    try:
        return compiled(function)
    except ImportError:
        return function


def inlined_where_possible(function: _Function) -> _Function:
    """The same as :func:`compiled_where_possible`, inlined into its callers."""
    try:
        return compiled(function, inline=True)
    except ImportError:
        return function


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let packages that are not loaded yet seem missing, while another one is imported."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None is what import takes for missing
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def leave_out_extras() -> None:
    """Load Numba without the linear algebra of SciPy, which no loop here needs and which takes memory.

    To be called by a program before it compiles a loop or loads one from disk. Products of matrices in other
    compiled functions of this process are refused then.
    """
    with hidden('scipy', 'scipy.linalg', 'coverage'), contextlib.suppress(ImportError):
        importlib.import_module('numba.np.arraymath')  # asks whether there is SciPy


_config_lock = threading.Lock()


def _stored(function: Callable[..., Any]) -> Any:
    """Numba's cache on disk for a function, in a private folder; None if there is no such folder."""
    from numba.core import config
    from numba.core.caching import FunctionCache

    settings: Any = config
    folder = library_folder('NUMBA_CACHE_DIR', 'numba')
    if folder is None:
        return None
    with _config_lock:  # the setting is for all programs in this process; leave it as it was
        before, settings.CACHE_DIR = settings.CACHE_DIR, str(folder)
        try:
            return _TolerantCache(FunctionCache(function))  # type: ignore[no-untyped-call]
        except RuntimeError:  # a function without a file
            return None
        finally:
            settings.CACHE_DIR = before


class _TolerantCache:
    """Numba's cache on disk, except that a file which cannot be read or written is no error.

    The loops are compiled again then, and a warning says so. A file may be cut short by a full disk or a
    loss of power.

    Args:
        cache: Numba's cache of a function.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function, or None; called by Numba."""
        try:
            return self._cache.load_overload(signature, target_context)
        except Exception as err:  # noqa: BLE001 - a file cut short raises many kinds of errors
            self._warn('read', err)
            with contextlib.suppress(Exception):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Store a compiled function; called by Numba."""
        try:
            self._cache.save_overload(signature, compiled)
        except Exception as err:  # noqa: BLE001 - the function works without
            self._warn('write', err)

    def _warn(self, action: str, err: Exception) -> None:
        _warn_once(
            f'cannot {action} compiled loops in {self._cache.cache_path}, so they are compiled: {err!r}'
        )


@cache
def _warn_once(text: str) -> None:
    _log.warning('%s', text)


_elsewhere: set[str] = set()


def wait_for_kernels(modules: Iterable[str]) -> None:
    """Have :func:`import_kernels` return None for these modules: another process compiles their loops."""
    _elsewhere.update(modules)


def use_kernels(modules: Iterable[str]) -> None:
    """Have :func:`import_kernels` return these modules again."""
    _elsewhere.difference_update(modules)


def import_kernels(module: str, otherwise: str) -> ModuleType | None:
    """Module of compiled loops; None, with one warning, if Numba is missing.

    It is None without a warning, too, while another process compiles the loops, see
    :func:`wait_for_kernels`.

    Args:
        module: Name of the module.
        otherwise: Consequence of the missing module, for the warning.
    """
    return None if module in _elsewhere else _import_kernels(module, otherwise)


@cache
def _import_kernels(module: str, otherwise: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        _log.warning(
            '%s, because Numba cannot be imported (%s); to change that: pip install numba', otherwise, err
        )
        return None


def run_in_parts(run: Callable[[int, int], Any], n_rows: int, n_parts: int) -> list[Any]:
    """Call ``run(start, stop)`` for ``n_parts`` ranges of rows at once, each in a thread of its own.

    Args:
        run: Function of the first row and the row after the last one; should release the GIL.
        n_rows: Number of rows, 1 or more.
        n_parts: Number of ranges, 1 or more; reduced to the number of rows.

    Returns:
        Results of the calls, from the first rows to the last.
    """
    n_parts = min(n_parts, n_rows)
    bounds = [n_rows * part // n_parts for part in range(n_parts + 1)]
    if n_parts == 1:
        return [run(*bounds)]
    with _pool_lock:
        others = [_pool().submit(run, *bounds[part : part + 2]) for part in range(1, n_parts)]
    return [run(*bounds[:2]), *(other.result() for other in others)]


def free_threads() -> None:
    """End the threads of :func:`run_in_parts`, after the calls in work; the next call starts new ones."""
    with _pool_lock:
        if _pool.cache_info().currsize:
            _pool().shutdown(wait=False)
        _pool.cache_clear()


@cache
def n_cores() -> int:
    """Number of cores that this process may use, see :func:`usable_cores`."""
    return usable_cores()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(n_cores(), 2), 'rows')


_pool_lock = threading.Lock()


def _forget_threads() -> None:
    """Start anew in a forked process: threads do not survive a fork."""
    global _pool_lock
    _pool_lock = threading.Lock()
    _pool.cache_clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_threads)
