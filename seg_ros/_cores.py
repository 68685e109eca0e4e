"""Number of processor cores that this process may use."""

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

_PROC = Path('/proc')
_CGROUPS = Path('/sys/fs/cgroup')


def usable_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Number of cores that this process may use: by its affinity, and by the processor time of its cgroup.

    A container with ``--cpus 2`` sees all cores of the computer. More than 2 threads would stop each other.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of the cgroup hierarchies.
    """
    if hasattr(os, 'sched_getaffinity'):
        n_cores = len(os.sched_getaffinity(0))
    else:
        n_cores = os.cpu_count() or 1
    quotas = [ceil(quota) for quota in _quotas(proc, cgroups)]
    return max(min([n_cores, *quotas]), 1)


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """Limits of this process in cores: of its cgroups, and of those above them.

    Source: cgroups(7), and cpu.max in the kernel's cgroup-v2 document.
    """
    try:
        lines = (proc / 'self' / 'cgroup').read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, separator, rest = line.partition(':')
        controllers, colon, path = rest.partition(':')
        if not (separator and colon):
            continue
        if not controllers:
            roots, read = [cgroups, cgroups / 'unified'], _version_2
        elif 'cpu' in controllers.split(','):
            roots, read = [cgroups / controllers, cgroups / 'cpu'], _version_1
        else:
            continue
        inner = Path(path.lstrip('/'))
        for root in roots:
            for folder in (inner, *inner.parents):
                quota = read(root / folder)
                if quota is not None:
                    yield quota


def _version_1(folder: Path) -> float | None:
    return _fraction(_numbers(folder / 'cpu.cfs_quota_us') + _numbers(folder / 'cpu.cfs_period_us'))


def _version_2(folder: Path) -> float | None:
    return _fraction(_numbers(folder / 'cpu.max'))


def _fraction(numbers: tuple[int, ...]) -> float | None:
    """First number divided by the second; None unless there are two above 0."""
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _numbers(path: Path) -> tuple[int, ...]:
    """Numbers in a file; none if it is missing, or holds anything else (``max`` = no limit)."""
    try:
        return tuple(map(int, path.read_text().split()))
    except (OSError, ValueError):
        return ()
