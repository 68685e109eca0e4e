"""Rendered soccer fields as a data set: objects that a small robot sees there, without a download."""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.rendered import SEEDS_APART, check_render_size, first_seed
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.synthetic import SoccerScene


class SoccerDataset:
    """Images of soccer fields for robots; hall, light and camera differ in each image.

    Args:
        root: Not used; the images are rendered.
        split: 'train', 'val' or 'test', which have different scenes.
        n_images: Number of images in the split, 1..1,000,000.
        height: Height of the images in pixels, 16..4096.
        width: Width of the images in pixels, 16..4096.

    Raises:
        DatasetError: The split is unknown, or a number is out of its range.
    """

    def __init__(
        self, root: Path | None, split: str, *, n_images: int = 100, height: int = 240, width: int = 320
    ) -> None:
        self._first = first_seed(split)
        if not 1 <= n_images <= SEEDS_APART:
            raise DatasetError(f'{n_images} soccer scenes; expected 1..{SEEDS_APART}')
        check_render_size(height, width)
        self.classes = ClassSet.from_yaml(resource('config/labels/soccer.yaml'))
        self.names = [f'{split}_{index:05}' for index in range(n_images)]
        self._size = height, width

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return SoccerScene(self._first + range(len(self))[index], *self._size).render()
