"""Rendered street drives as a data set: exact labels with the classes of CamVid, without a download."""

from functools import lru_cache
from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.synthetic import RenderedDrive

SPLITS = ('train', 'val', 'test')
SEEDS_APART = 1_000_000
"""Distance between the first seeds of two splits."""
_FRAMES_A_DRIVE = 60
_SMALLEST, _LARGEST = 16, 4096


class RenderedDataset:
    """Frames of many short drives, each through another street.

    Args:
        root: Not used; the drives are rendered.
        split: 'train', 'val' or 'test', which have different streets.
        n_drives: Number of drives, 1..1,000,000.
        n_frames: Number of frames of each drive, 1..60, spread evenly over it.
        height: Height of the images in pixels, 16..4096.
        width: Width of the images in pixels, 16..4096.

    Raises:
        DatasetError: The split is unknown, or a number is out of its range.
    """

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        n_drives: int = 100,
        n_frames: int = 6,
        height: int = 360,
        width: int = 480,
    ) -> None:
        first = first_seed(split)
        if not (1 <= n_drives <= SEEDS_APART and 1 <= n_frames <= _FRAMES_A_DRIVE):
            raise DatasetError(
                f'{n_drives} rendered drives of {n_frames} frames; '
                f'expected 1..{SEEDS_APART} drives of 1..{_FRAMES_A_DRIVE} frames'
            )
        check_render_size(height, width)
        self.classes = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
        step = _FRAMES_A_DRIVE // n_frames
        self._where = [
            (first + drive, frame * step) for drive in range(n_drives) for frame in range(n_frames)
        ]
        self.names = [f'{drive}_{frame:03}' for drive, frame in self._where]
        self._size = height, width

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        seed, frame = self._where[index]
        return _drive(seed, *self._size)[frame]


@lru_cache(maxsize=2)
def _drive(seed: int, height: int, width: int) -> RenderedDrive:
    """Drive of a seed, cached: building a street takes far longer than rendering a frame of it."""
    return RenderedDrive(seed, _FRAMES_A_DRIVE, height, width)


def check_render_size(height: int, width: int) -> None:
    """Refuse sizes that are too small to render, or take too much memory.

    Raises:
        DatasetError: A side is out of its range.
    """
    if not (_SMALLEST <= height <= _LARGEST and _SMALLEST <= width <= _LARGEST):
        raise DatasetError(f'height {height}, width {width}; expected {_SMALLEST}..{_LARGEST} pixels each')


def first_seed(split: str) -> int:
    """Seed of the first scene of a split; the seeds of the other scenes follow.

    Raises:
        DatasetError: The split is unknown.
    """
    if split not in SPLITS:
        raise DatasetError(f"split '{split}' of rendered images; known: {', '.join(SPLITS)}")
    return SEEDS_APART * (1 + SPLITS.index(split))
