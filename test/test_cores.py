"""The number of usable cores follows affinity and cgroups of both versions."""

import os
from pathlib import Path

import pytest

from seg_ros._cores import usable_cores

N_CORES = 16


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(N_CORES)), raising=False)


def cores(tmp_path: Path, lines: str, files: dict[str, str]) -> int:
    (tmp_path / 'proc/self').mkdir(parents=True)
    (tmp_path / 'proc/self/cgroup').write_text(lines)
    for name, text in files.items():
        (tmp_path / 'cgroup' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'cgroup' / name).write_text(text)
    return usable_cores(tmp_path / 'proc', tmp_path / 'cgroup')


@pytest.mark.parametrize(
    ('lines', 'files', 'expected'),
    [
        ('0::/\n', {}, N_CORES),
        ('0::/\n', {'cpu.max': 'max 100000'}, N_CORES),
        ('0::/\n', {'cpu.max': '200000 100000'}, 2),
        ('0::/\n', {'cpu.max': '150000 100000'}, 2),
        ('0::/\n', {'cpu.max': '1000 100000'}, 1),
        ('0::/\n', {'cpu.max': '9900000 100000'}, N_CORES),
        ('0::/\n', {'cpu.max': '0 0'}, N_CORES),
        ('0::/\n', {'cpu.max': 'nonsense'}, N_CORES),
        (
            '0::/a/b\n',
            {'cpu.max': 'max 100000', 'a/cpu.max': '300000 100000', 'a/b/cpu.max': 'max 100000'},
            3,
        ),
        ('0::/a/b\n', {'a/cpu.max': '300000 100000', 'a/b/cpu.max': '500000 100000'}, 3),
        ('0::/of/the/host\n', {'cpu.max': '400000 100000'}, 4),  # a container that sees its own root only
        (
            '4:cpu,cpuacct:/box\n0::/\n',
            {'cpu,cpuacct/box/cpu.cfs_quota_us': '250000', 'cpu,cpuacct/box/cpu.cfs_period_us': '100000'},
            3,
        ),
        ('1:cpu:/\n', {'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'}, N_CORES),
        ('3:cpuset:/\n2:cpuacct:/\n', {'cpuset/cpu.max': '100000 100000'}, N_CORES),
        ('', {}, N_CORES),
        ('no colon\n', {'cpu.max': '100000 100000'}, N_CORES),
    ],
)
def test_cores(tmp_path: Path, lines: str, files: dict[str, str], expected: int) -> None:
    assert cores(tmp_path, lines, files) == expected


def test_without_procfs_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / 'none', tmp_path) == N_CORES
