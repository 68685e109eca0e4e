"""Writes chosen frames as a folder data set, with the model's labels as a first draft."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.bags.image_names import image_name
from seg_ros.classes import ClassSet
from seg_ros.datasets.folder_writer import FolderWriter
from seg_ros.errors import DatasetError

LIST_NAME = 'selection.csv'
"""File beside the images that lists the frames with the reasons for their choice."""

_VALUES = ('uncertainty', 'flicker_compensated', 'novelty', 'disagreement')


@dataclass(frozen=True)
class SelectedFrame:
    """A frame to label.

    Attributes:
        bag: Path of its bag.
        index: Position in its topic, from 0.
        stamp_ns: Its time in ns, as ``seg_ros.bags.image_names.time_of`` has it.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, class ids of the model; 255 = unlabelled.
        values: Values by name, as in ``selection.REASONS``.
        reason: Reason for its choice in words.
    """

    bag: Path
    index: int
    stamp_ns: int
    image: UInt8Array
    labels: UInt8Array
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ''


def write_selection(folder: Path, frames: Iterable[SelectedFrame], classes: ClassSet) -> int:
    """Write ``images/``, ``labels/``, ``classes.yaml`` and ``selection.csv``.

    Images are named as ``seg_ros make-images`` names them. ``seg_ros show-data folder`` reads the folder.

    Args:
        folder: Folder, which is made if it does not exist.
        frames: Frames, which may be made one by one.
        classes: Classes of the labels.

    Returns:
        Number of frames.

    Raises:
        DatasetError: The folder has images already, or cannot be written.
        ImageError: An image cannot be written.
    """
    try:
        writer = FolderWriter(folder, '', classes)
        # names of other bytes stay as they are, so that they are those of the images
        with (folder / LIST_NAME).open('w', newline='', encoding='utf-8', errors='surrogateescape') as file:
            rows = csv.writer(file)
            rows.writerow(['name', 'bag', 'index', 'stamp_ns', *_VALUES, 'reason'])
            names = _Names()
            for frame in frames:
                name = names.of(frame)
                writer.add(name, frame.image, frame.labels)
                values = [_text(frame.values.get(value)) for value in _VALUES]
                rows.writerow([name, frame.bag, frame.index, frame.stamp_ns, *values, frame.reason])
    except OSError as err:
        raise DatasetError(
            f'{folder} cannot be written: {err.strerror}; choose another folder, or free some space'
        ) from err
    return names.n


class _Names:
    """Gives each frame a name of its own."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    @property
    def n(self) -> int:
        """Number of names given."""
        return len(self._given)

    def of(self, frame: SelectedFrame) -> str:
        """BAG_MILLISECONDS, or BAG_MILLISECONDS_2 if another frame has that."""
        name = base = image_name(frame.bag, frame.stamp_ns)
        number = 1
        while name in self._given:
            number += 1
            name = f'{base}_{number}'
        self._given.add(name)
        return name


def _text(value: float | None) -> str:
    """A value of at most six digits; empty if it was not measured."""
    return '' if value is None or value != value else f'{value:.6g}'
