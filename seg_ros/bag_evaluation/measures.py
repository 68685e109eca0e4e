"""Measures of one system on a part of a bag, as arrays: counts of runs of frames, and values of frames.

Counts are integers, so their sums do not depend on the order in which parts are computed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import Float32Array
from seg_ros.errors import SegRosError
from seg_ros.metrics.labels import Counts

RUN_LENGTH = 32
"""Number of consecutive frames of a run, the unit of the bootstrap."""
PART_LENGTH = 256
"""Number of frames of a part, the unit of work."""
STAGES = ('resize', 'network', 'filter', 'argmax', 'segments')
"""Steps of a frame, in the order of the columns of ``times_ms``."""

Values = npt.NDArray[np.float64]


def run_shapes(n_classes: int) -> dict[str, tuple[int, ...]]:
    """Shape of each count of a run, by name.

    - ``n_frames``: number of frames; ``n_labelled``: of those with true labels.
    - ``labels``: pixels of each predicted class, the last unlabelled.
    - ``confusion``, ``boundary``, ``calibration``: against the true labels, see seg_ros.metrics.
    - ``confidence``: pixels by their confidence.
    - ``agreement``: confusion with the labels of the reference, which are the rows.
    - ``flicker``: pixels [changed, compared] between consecutive frames; ``flicker_compensated``: after
      compensation of the motion.
    - ``code_flicker``: bits [different, compared] of the codes of followed segments.
    - ``track_flicker``: pixels [changed, compared] of the segments' numbers, after compensation.
    """
    k = n_classes
    return {
        'n_frames': (),
        'n_labelled': (),
        'labels': (k + 1,),
        'confusion': (k, k + 1),
        'boundary': (k, 2),
        'calibration': (256, 2),
        'confidence': (256,),
        'agreement': (k, k + 1),
        'flicker': (2,),
        'flicker_compensated': (2,),
        'code_flicker': (2,),
        'track_flicker': (2,),
    }


def frame_shapes(n_classes: int) -> dict[str, tuple[int, ...]]:
    """Shape of each value of a frame, by name; NaN = not measured."""
    return {
        'index': (),
        'time_ns': (),
        'mean_iou': (),
        'agreement': (),
        'flicker': (),
        'flicker_compensated': (),
        'confidence': (),
        'novelty': (),
        'shares': (n_classes + 1,),
        'times_ms': (len(STAGES),),
        'total_ms': (),
        'wall_ms': (),
        'cpu_ms': (),
        'memory_mb': (),
    }


_INTEGERS = ('index', 'time_ns')


@dataclass(frozen=True)
class PartMeasures:
    """Measures of a system on consecutive frames.

    Attributes:
        runs: Counts by name, (R, ...) int64, see :func:`run_shapes`.
        frames: Values by name, (F, ...), see :func:`frame_shapes`; ``index`` and ``time_ns`` are int64, the
            others float64.
        descriptors: (F, D) float32, see seg_ros.bag_evaluation.descriptors; None = not loaded.
    """

    runs: dict[str, Counts]
    frames: dict[str, npt.NDArray[Any]]
    descriptors: Float32Array | None = None

    @property
    def n_frames(self) -> int:
        """Number of measured frames."""
        return len(self.frames['index'])

    @classmethod
    def empty(cls, n_classes: int) -> PartMeasures:
        """Measures of no frame."""
        runs = {name: np.zeros((0, *shape), np.int64) for name, shape in run_shapes(n_classes).items()}
        return cls(runs, {n: np.zeros((0, *s), _dtype(n)) for n, s in frame_shapes(n_classes).items()})

    @classmethod
    def joined(cls, parts: Sequence[PartMeasures], n_classes: int) -> PartMeasures:
        """Measures of several parts, one after the other."""
        parts = [cls.empty(n_classes), *parts]
        return cls(
            {name: np.concatenate([part.runs[name] for part in parts]) for name in parts[0].runs},
            {name: np.concatenate([part.frames[name] for part in parts]) for name in parts[0].frames},
        )

    def every(self, step: int) -> PartMeasures:
        """Values of every frame whose position is a multiple of a step, with all runs."""
        kept = self.frames['index'] % step == 0
        described = None if self.descriptors is None else self.descriptors[kept]
        return PartMeasures(self.runs, {name: v[kept] for name, v in self.frames.items()}, described)

    def save(self, path: Path) -> None:
        """Write a file; it appears whole or not at all.

        Raises:
            SegRosError: It cannot be written.
        """
        content = io.BytesIO()
        arrays: dict[str, npt.NDArray[Any]] = {f'runs.{name}': value for name, value in self.runs.items()}
        arrays |= {f'frames.{name}': value for name, value in self.frames.items()}
        if self.descriptors is not None:
            arrays['descriptors'] = self.descriptors
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        write_whole(path, content.getvalue())

    @classmethod
    def load(cls, path: Path, n_classes: int, *, descriptors: bool = False) -> PartMeasures | None:
        """Read a file; None if it does not exist, is damaged, or has other arrays.

        Args:
            path: Path of the file.
            n_classes: Number of classes of the system.
            descriptors: Whether to read the descriptors too, which take most of the memory.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                runs = {name: file[f'runs.{name}'] for name in run_shapes(n_classes)}
                frames = {name: file[f'frames.{name}'] for name in frame_shapes(n_classes)}
                described = file['descriptors'] if descriptors else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        found = cls(runs, frames, described)
        return found if _fits(found, n_classes) else None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, which appears whole or not at all; missing folders are made.

    Raises:
        SegRosError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + '.part')
        part.write_bytes(content)
        part.replace(path)
    except OSError as err:
        raise SegRosError(f'{path} cannot be written: {err}; free some space, or choose another -o') from err


class RunCounter:
    """Adds up the counts of the frames of one run.

    Args:
        n_classes: Number of classes.
    """

    def __init__(self, n_classes: int) -> None:
        self.counts = {name: np.zeros(shape, np.int64) for name, shape in run_shapes(n_classes).items()}

    def add(self, name: str, counts: npt.ArrayLike) -> None:
        """Add counts of the shape of that name."""
        self.counts[name] += np.asarray(counts, np.int64)


def stacked(runs: Sequence[RunCounter], frames: Sequence[dict[str, object]], n_classes: int) -> PartMeasures:
    """Measures of runs and frames in the order of the bag."""
    empty = PartMeasures.empty(n_classes)
    if not runs:
        return empty
    return PartMeasures(
        {name: np.stack([run.counts[name] for run in runs]) for name in empty.runs},
        {name: np.array([frame[name] for frame in frames], _dtype(name)) for name in empty.frames},
        np.array([frame['descriptor'] for frame in frames], np.float32).reshape(len(frames), -1),
    )


def _dtype(name: str) -> type[np.int64] | type[np.float64]:
    return np.int64 if name in _INTEGERS else np.float64


def _fits(found: PartMeasures, n_classes: int) -> bool:
    empty = PartMeasures.empty(n_classes)
    pairs: list[tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]]
    pairs = [(empty.runs, found.runs), (empty.frames, found.frames)]
    for ours, theirs in pairs:
        lengths = {len(value) if value.ndim else -1 for value in theirs.values()}
        if len(lengths) != 1 or -1 in lengths:
            return False
        if any(ours[n].shape[1:] != theirs[n].shape[1:] or ours[n].dtype != theirs[n].dtype for n in ours):
            return False
    return True
