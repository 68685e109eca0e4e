"""Loops compiled by Numba, and threads that run them."""

import importlib
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any, TypeVar, cast

_log = logging.getLogger(__name__)
_Function = TypeVar('_Function', bound=Callable[..., Any])

# Fused multiply-add only: other fast-math options ignore infinity and NaN.
_FAST_MATH = {'contract'}


def compiled(function: _Function, *, inline: bool = False) -> _Function:
    """``function`` compiled by Numba at its first call, without the GIL, cached on disk if possible.

    After a change to its file Numba compiles it again, but not after a change to another file with a function
    that it calls. Delete ``__pycache__`` then.

    Args:
        function: Function of types that Numba supports.
        inline: Whether to inline it into its callers; for small functions that are called very often.

    Raises:
        ImportError: Numba is missing.
    """
    from numba import njit

    options: dict[str, Any] = {'nogil': True, 'fastmath': _FAST_MATH, 'forceinline': inline}
    try:
        done = njit(cache=True, **options)(function)
    except RuntimeError:  # Numba found no writable folder for its cache
        done = njit(**options)(function)
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


@cache
def import_kernels(module: str, otherwise: str) -> ModuleType | None:
    """Module of compiled loops; None, with one warning, if Numba is missing.

    Args:
        module: Name of the module.
        otherwise: Consequence of the missing module, for the warning.
    """
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
    others = [_pool().submit(run, *bounds[part : part + 2]) for part in range(1, n_parts)]
    return [run(*bounds[:2]), *(other.result() for other in others)]


@cache
def n_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(n_cores(), 2), 'rows')


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
