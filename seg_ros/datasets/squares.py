"""Squares with two classes: the smallest task for training a segmentation network."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import DatasetError
from seg_ros.resources import resource

SPLITS = ('train', 'validation', 'test')
SIZE = (240, 320)
SMALLEST, LARGEST = 90, 100
_CONTRAST = 40
_MOST_IMAGES = 1_000_000
_NOISE = 12.0


class SquaresDataset:
    """Images of 240x320 pixels, each with one square of 90 to 100 pixels.

    Position, size and both colours are random. The colours differ by 40 grey levels or more in a channel.
    Gaussian noise has a standard deviation of 12 levels. Or the squares are white on black, without noise.

    Args:
        root: Not used; the images are drawn.
        split: 'train', 'validation' or 'test', which have different images.
        n_images: Number of images in the split, 1..1,000,000.
        black_and_white: Whether the squares are white on black.

    Raises:
        DatasetError: The split is unknown, or the number of images is out of its range.
    """

    def __init__(
        self, root: Path | None, split: str, *, n_images: int = 100, black_and_white: bool = False
    ) -> None:
        if split not in SPLITS or not 1 <= n_images <= _MOST_IMAGES:
            raise DatasetError(
                f"split '{split}' of {n_images} squares; "
                f'expected {", ".join(SPLITS)}, and 1..{_MOST_IMAGES} images'
            )
        self.classes = ClassSet.from_yaml(resource('config/labels/squares.yaml'))
        self.names = [f'{split}_{index:03}' for index in range(n_images)]
        self._split, self._black_and_white = SPLITS.index(split), black_and_white

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        rng = np.random.default_rng((self._split, range(len(self))[index]))
        side = int(rng.integers(SMALLEST, LARGEST + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in SIZE)
        labels = np.zeros(SIZE, np.uint8)
        labels[top : top + side, left : left + side] = 1
        if self._black_and_white:
            return np.repeat(255 * labels[..., None], 3, axis=2), labels
        image = _two_colours(rng)[labels] + rng.normal(0, _NOISE, (*SIZE, 3))
        return np.rint(image).clip(0, 255).astype(np.uint8), labels


def _two_colours(rng: np.random.Generator) -> UInt8Array:
    """Colours of background and square, (2, 3) uint8."""
    while True:
        colours = rng.integers(0, 256, (2, 3))
        if abs(colours[0] - colours[1]).max() >= _CONTRAST:
            return colours.astype(np.uint8)
