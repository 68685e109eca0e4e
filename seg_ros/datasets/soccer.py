"""Rendered soccer fields as a data set: the objects that a small robot meets there, without a download."""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.rendered import SEEDS_APART, first_seed
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.synthetic import SoccerScene


class SoccerDataset:
    """Pictures of soccer fields for robots, each of a hall, a light and a camera of its own.

    Args:
        root: not used; the pictures come from no folder.
        split: 'train', 'val' or 'test', which share no scene.
        n_images: in the split.
        height: in pixels.
        width: in pixels.

    Raises:
        DatasetError: there is no such split, or a number is out of its range.
    """

    def __init__(
        self, root: Path | None, split: str, *, n_images: int = 100, height: int = 240, width: int = 320
    ) -> None:
        self._first = first_seed(split)
        if not 1 <= n_images <= SEEDS_APART:
            raise DatasetError(f'{n_images} soccer scenes; expected 1..{SEEDS_APART}')
        self.classes = ClassSet.from_yaml(resource('config/labels/soccer.yaml'))
        self.names = [f'{split}_{index:05}' for index in range(n_images)]
        self._size = height, width

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return SoccerScene(self._first + range(len(self))[index], *self._size).render()
