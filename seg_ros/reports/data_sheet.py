"""Contact sheet of a data set: some of its images, and the same images under their labels."""

from pathlib import Path

import numpy as np

from seg_ros.arrays import UInt8Array
from seg_ros.datasets.dataset import Dataset
from seg_ros.drawing.overlay import Overlay, contact_sheet
from seg_ros.images.files import write_image

_WIDTH, _PAIRS_PER_ROW, _N_IMAGES = 1500, 3, 18


class DataSheet:
    """Draws up to 18 images that are spread evenly over a data set.

    Args:
        dataset: Data set whose images are added.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._shown = {int(index) for index in np.linspace(0, len(dataset) - 1, _N_IMAGES)}
        self._overlay = Overlay(dataset.classes)
        self._cells: list[UInt8Array] = []

    def add(self, index: int, image: UInt8Array, labels: UInt8Array) -> None:
        """Draw an image, if it is among the shown ones.

        Args:
            index: Position of the image in the data set.
            image: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8 class ids; 255 = void.
        """
        if index in self._shown:
            legend = not self._cells
            self._cells += [image, self._overlay(image, labels, opacity=0.6, legend=legend)]

    def write(self, path: Path) -> bool:
        """Write the sheet as an image file; missing folders are made.

        Returns:
            Whether there was an image to show.

        Raises:
            ImageError: The file cannot be written.
        """
        if not self._cells:
            return False
        step = 2 * _PAIRS_PER_ROW
        rows = [self._cells[start : start + step] for start in range(0, len(self._cells), step)]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, contact_sheet(rows, [''] * step, _WIDTH))
        return True
