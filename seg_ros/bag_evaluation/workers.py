"""Evaluation by several processes or computers, through Dask distributed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from seg_ros.bag_evaluation.parts import PartResult, evaluate_parts
from seg_ros.bag_evaluation.run import PartTask, TaskRunner
from seg_ros.errors import SegRosError, UnavailableError

PARTS_PER_TASK = 4
"""Maximum number of neighbouring parts in a task."""
_RETRIES = 3


@contextmanager
def dask_workers(n_workers: int = 0, scheduler: str = '', timeout_s: float = 20.0) -> Iterator[TaskRunner]:
    """A runner whose tasks run on the workers of Dask.

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
    own = {'distributed.scheduler.allowed-failures': _RETRIES, 'distributed.worker.daemon': True}
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
            yield lambda tasks, report: _run(client, tasks, report)
        finally:
            client.close()
            if cluster is not None:
                cluster.close()


def _run(
    client: Any, tasks: Sequence[PartTask], report: Callable[[int], object]
) -> Iterator[tuple[PartTask, PartResult | SegRosError]]:
    """Results in the order in which they come."""
    as_completed: Any = importlib.import_module('distributed').as_completed
    futures = {client.submit(_work, task, pure=False, retries=_RETRIES): task for task in tasks}
    try:
        for future in as_completed(list(futures)):
            task = futures[future]
            error = future.exception()
            if error is not None:
                known = error if isinstance(error, SegRosError) else None
                yield task, known or SegRosError(f'its workers failed {_RETRIES} times: {error!r}')
                continue
            for result in future.result():
                report(task.job.part_length(result.part))
                yield task, result
            future.release()
    finally:
        client.cancel(list(futures))


def _work(task: PartTask) -> list[PartResult]:
    """Measure the parts of a task in a worker."""
    return list(evaluate_parts(task.job, task.parts, task.systems))
