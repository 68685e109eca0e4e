"""Evaluation on several workers of Dask, one of which dies, equals the sequential one."""

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from seg_ros.bag_evaluation.measures import PartMeasures
from seg_ros.bag_evaluation.parts import PartResult
from seg_ros.bag_evaluation.run import PartTask, Request, evaluate
from seg_ros.bag_evaluation.systems import System
from seg_ros.bag_evaluation.workers import dask_workers
from seg_ros.errors import SegRosError, UnavailableError

MakeRequest = Callable[..., Request]
Compare = Callable[[PartMeasures, PartMeasures], None]

distributed = pytest.importorskip('distributed')


def children() -> list[int]:
    """Processes that this one started for workers."""
    found = []
    for folder in Path('/proc').iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / 'cmdline').read_bytes()
                parent = int((folder / 'stat').read_text().rpartition(')')[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid() and b'spawn_main' in words:
                found.append(int(folder.name))
    return found


def test_a_dying_worker_changes_nothing(
    street_bag: Path,
    systems: tuple[System, ...],
    request_of: MakeRequest,
    assert_equal: Compare,
    tmp_path: Path,
) -> None:
    bad = tmp_path / 'bad.mcap'
    bad.write_bytes(b'nothing')
    request = request_of(street_bag, systems[:1], tmp_path / 'here', bags=(street_bag, bad))
    expected = evaluate(request)
    killed = list[int]()
    environments = list[bytes]()
    with dask_workers(2) as workers:

        def deadly(
            tasks: Sequence[PartTask], report: Callable[[int], object]
        ) -> Iterator[tuple[PartTask, PartResult | SegRosError]]:
            for item in workers.run(tasks, report):
                if not killed:
                    killed.append(children()[0])
                    environments.append(Path(f'/proc/{killed[0]}/environ').read_bytes())
                    os.kill(killed[0], signal.SIGKILL)
                yield item

        distant = dataclasses.replace(request, folder=tmp_path / 'there')
        outcome = evaluate(distant, dataclasses.replace(workers, run=deadly), group=1)
    assert killed
    assert b'MALLOC_TRIM_THRESHOLD_' not in environments[0]  # it doubles the time of a network
    assert [failure.bag for failure in outcome.failures] == ['bad']
    key = systems[0].key
    assert_equal(outcome.bags[0].measures[key], expected.bags[0].measures[key])
    assert outcome.bags[0].losses == expected.bags[0].losses


def test_a_scheduler_that_does_not_answer_is_told() -> None:
    with (
        pytest.raises(UnavailableError, match=r'127\.0\.0\.1:9'),
        dask_workers(scheduler='tcp://127.0.0.1:9', timeout_s=1),
    ):
        pass
