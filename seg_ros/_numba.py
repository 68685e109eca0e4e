"""Compiled loops and the threads that run them, for all modules that need either."""

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

# Fused multiply-add only: what else goes by fast mathematics would lose sight of infinity and NaN.
_FAST_MATH = {'contract'}


def compiled(function: _Function, *, inline: bool = False) -> _Function:
    """``function`` compiled by Numba at its first call, without the GIL, kept on disk where that is writable.

    Args:
        function: of what Numba knows.
        inline: make it a part of the compiled functions that call it; for small ones called very often.

    Raises:
        ImportError: Numba is missing.
    """
    from numba import njit

    options: dict[str, Any] = {'nogil': True, 'fastmath': _FAST_MATH, 'forceinline': inline}
    try:
        done = njit(cache=True, **options)(function)
    except RuntimeError:  # Numba found no place for its cache
        done = njit(**options)(function)
    return cast(_Function, done)


def compiled_where_possible(function: _Function) -> _Function:
    """:func:`compiled`; ``function`` itself, which does the same, where Numba is missing."""
    try:
        return compiled(function)
    except ImportError:
        return function


def inlined_where_possible(function: _Function) -> _Function:
    """As :func:`compiled_where_possible`, as a part of the functions that call it."""
    try:
        return compiled(function, inline=True)
    except ImportError:
        return function


@cache
def import_kernels(module: str, otherwise: str) -> ModuleType | None:
    """A module of compiled loops; None, and one warning that says ``otherwise``, where Numba is missing."""
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
        run: must release the GIL for this to be of use.
        n_rows: 1 or more.
        n_parts: 1 or more; at most as many ranges as rows are made.

    Returns:
        What the calls returned, from the first rows to the last.
    """
    n_parts = min(n_parts, n_rows)
    bounds = [n_rows * part // n_parts for part in range(n_parts + 1)]
    others = [_pool().submit(run, *bounds[part : part + 2]) for part in range(1, n_parts)]
    return [run(*bounds[:2]), *(other.result() for other in others)]


@cache
def n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(n_cores(), 2), 'rows')


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
