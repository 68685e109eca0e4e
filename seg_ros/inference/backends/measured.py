"""The memory of measured backends: a file for each model and its settings, in the cache folder."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from seg_ros import schema
from seg_ros._caches import cache_folder, is_kept
from seg_ros.errors import BackendError
from seg_ros.inference.backends.timing import BackendTimes, fastest, is_in_doubt, merged
from seg_ros.schema import Count

log = logging.getLogger(__name__)

FORGET = 'seg_ros backends --forget'
_LARGEST_BYTES = 100_000
_MOST_MEASUREMENTS = 3
_FOLDER, _OLD_FILES = 'backends', 'backend-*.json'


@dataclass(frozen=True)
class MeasuredModel:
    """The model and settings that backends were measured with.

    Attributes:
        model: Name of the model file.
        digest: Digest of the model file.
        level: Level of precision.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        device: Device, e.g. ``'cpu'``.
        n_threads: Number of threads asked for; 0 = one per core.
        with_embeddings: Whether embeddings are computed too.
    """

    model: str
    digest: str
    level: str
    height: int
    width: int
    device: str
    n_threads: int
    with_embeddings: bool

    @property
    def key(self) -> str:
        """Name of the file: a digest of everything but the name of the model."""
        values = {**asdict(self), 'model': ''}
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class MeasuredTimes:
    """A measurement of the backends of a model.

    Attributes:
        subject: Model and settings.
        machine: Properties of the computer, see ``machine.describe_machine``.
        times: Times of each backend, in the order of the table of backends.
        n_measurements: Number of measurements that were merged, 1 or more.
        measured: Date and time in UTC, ISO 8601.
    """

    subject: MeasuredModel
    machine: dict[str, str]
    times: dict[str, BackendTimes]
    n_measurements: Count = 1
    measured: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec='seconds'))

    @property
    def backend(self) -> str:
        """The backend to use."""
        return fastest(self.times)

    @property
    def is_certain(self) -> bool:
        """Whether the measurement need not be repeated: it was undisturbed, or repeated often enough."""
        return self.n_measurements >= _MOST_MEASUREMENTS or not is_in_doubt(self.times)

    def text(self) -> str:
        """Times of all backends in one line, e.g. ``torch 40.2 ms (spread 3 %), ...``."""
        return ', '.join(
            f'{name} {t.lowest_ms:.1f} ms (spread {t.spread:.0%})' for name, t in self.times.items()
        )

    def changed_since(self, machine: Mapping[str, str]) -> list[str]:
        """Changes from the computer of this measurement to another one, in words."""
        names = {**self.machine, **machine}
        return [
            f'{name} was {self.machine.get(name, "none")}, is {machine.get(name, "none")}'
            for name in names
            if self.machine.get(name) != machine.get(name)
        ]

    def merged_with(self, newer: 'MeasuredTimes') -> 'MeasuredTimes':
        """This measurement and a newer one on the same computer as one."""
        times = merged(self.times, newer.times)
        return replace(newer, times=times, n_measurements=self.n_measurements + 1)


def recall(subject: MeasuredModel) -> MeasuredTimes | None:
    """The stored measurement of a model; None if there is none that can be read."""
    folder = cache_folder(_FOLDER) if is_kept() else None
    return None if folder is None else _read(folder / f'{subject.key}.json')


def remember(measurement: MeasuredTimes) -> None:
    """Store a measurement, in place of an older one; nothing is stored where nothing can be kept."""
    folder = cache_folder(_FOLDER) if is_kept() else None
    if folder is None:
        return
    text = json.dumps(asdict(measurement), indent=1)
    temporary = ''
    try:
        # Written in full before it gets its name: another process may read it, and power may fail.
        number, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(number, 'w') as file:
            file.write(text)
        Path(temporary).replace(folder / f'{measurement.subject.key}.json')
    except OSError as err:
        log.warning('the measured times of backends are not stored: %s', err)
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def forget(subject: MeasuredModel) -> None:
    """Remove the stored measurement of a model."""
    folder = cache_folder(_FOLDER) if is_kept() else None
    if folder is not None:
        _remove(folder / f'{subject.key}.json')


def all_measured() -> list[MeasuredTimes]:
    """All stored measurements that can be read, the newest first."""
    found = [measurement for path in _files() if (measurement := _read(path))]
    return sorted(found, key=lambda measurement: measurement.measured, reverse=True)


def measured_backend(digest: str) -> str:
    """Backend of the newest measurement of a model file by its digest; '' if there is none."""
    return next((known.backend for known in all_measured() if known.subject.digest == digest), '')


def forget_all() -> int:
    """Remove all stored measurements, those of older versions too; returns their number."""
    return sum(_remove(path) for path in list(_files()))


def _files() -> Iterator[Path]:
    folder = cache_folder(_FOLDER) if is_kept() else None
    if folder is not None:
        yield from folder.glob('*.json')
        yield from folder.parent.glob(_OLD_FILES)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except OSError as err:
        if path.exists():
            log.warning('%s cannot be removed: %s', path, err)
        return False
    return True


def _read(path: Path) -> MeasuredTimes | None:
    """The measurement in a file; None if it is missing, or holds anything else."""
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return None
        measurement = schema.build(MeasuredTimes, json.loads(path.read_text()), str(path), BackendError)
    except (OSError, ValueError, RecursionError, BackendError):
        return None
    return measurement if measurement.times and measurement.subject.key == path.stem else None
