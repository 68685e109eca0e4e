"""Evaluation by several processes or computers, through Dask distributed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from seg_ros.bag_evaluation.parts import PartResult, evaluate_parts
from seg_ros.bag_evaluation.run import Index, PartTask, Request, Result, Workers, index_bag
from seg_ros.errors import SegRosError, UnavailableError

PARTS_PER_TASK = 4
"""Maximum number of neighbouring parts in a task."""
_RETRIES = 3
_ENVIRONMENT = {'GOMP_SPINCOUNT': '10000'}
"""Variables of our workers. Those of Dask have the C library return freed memory at once: twice the time."""


@contextmanager
def dask_workers(n_workers: int = 0, scheduler: str = '', timeout_s: float = 20.0) -> Iterator[Workers]:
    """Workers of Dask.

    A task whose worker dies runs again on another worker, up to three times. Workers need the same files
    under the same paths, and the same release of seg_ros.

    Args:
        n_workers: Number of worker processes on this computer; 0 with ``scheduler``.
        scheduler: Address of a running scheduler, such as ``'tcp://10.0.0.1:8786'``; '' = start our own.

    Raises:
        UnavailableError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        dask: Any = importlib.import_module('dask')
        distributed: Any = importlib.import_module('distributed')
    except ImportError as err:
        raise UnavailableError(
            f'several workers need Dask distributed ({err}); install it with "pip install seg_ros[dask]"'
        ) from err
    own = {
        'distributed.scheduler.allowed-failures': _RETRIES,
        'distributed.worker.daemon': True,
        'distributed.nanny.pre-spawn-environ': _ENVIRONMENT,
    }
    with dask.config.set(own):
        cluster = None
        try:
            if not scheduler:
                cluster = distributed.LocalCluster(
                    n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
                )
            client = distributed.Client(cluster or scheduler, timeout=timeout_s)
        except (OSError, TimeoutError, ValueError) as err:
            raise UnavailableError(
                f'the scheduler {scheduler or "on this computer"} does not answer ({err}); check --scheduler'
            ) from err
        try:
            yield Workers(partial(_index, client), partial(_run, client))
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _index(client: Any, request: Request, report: Callable[[int], object]) -> Iterator[Index]:
    """Index the bags, in the order in which they are done."""
    calls = {path: (index_bag, request, path) for path in dict.fromkeys(request.bags)}
    for path, found in _results(client, calls):
        report(1)
        yield path, found


def _run(client: Any, tasks: Sequence[PartTask], report: Callable[[int], object]) -> Iterator[Result]:
    """Results in the order in which they come."""
    calls = {number: (_work, task) for number, task in enumerate(tasks)}
    for number, found in _results(client, calls):
        task = tasks[number]
        if isinstance(found, SegRosError):
            yield task, found
            continue
        for result in found:
            report(task.job.part_length(result.part))
            yield task, result


def _results(client: Any, calls: Mapping[Any, tuple[Any, ...]]) -> Iterator[tuple[Any, Any]]:
    """Keys of calls with their results, or the error of those that failed."""
    as_completed: Any = importlib.import_module('distributed').as_completed
    futures = {client.submit(*call, pure=False, retries=_RETRIES): key for key, call in calls.items()}
    try:
        for future in as_completed(list(futures)):
            error = future.exception()
            if error is None:
                yield futures[future], future.result()
                future.release()
            elif isinstance(error, SegRosError):
                yield futures[future], error
            else:
                yield futures[future], SegRosError(f'its workers failed {_RETRIES} times: {error!r}')
    finally:
        client.cancel(list(futures))


def _work(task: PartTask) -> list[PartResult]:
    """Measure the parts of a task in a worker."""
    return list(evaluate_parts(task.job, task.parts, task.systems))
