"""The protocol of a data set."""

from typing import Protocol

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet


class Dataset(Protocol):
    """Labelled images in a fixed order.

    Attributes:
        classes: Classes of the labels; 255 = void.
        names: Name of each image, unique, for reports and for leaving images out.
    """

    classes: ClassSet
    names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        """Read an image and its labels.

        Returns:
            Image, (H, W, 3) uint8 RGB, and labels, (H, W) uint8: class ids and 255.

        Raises:
            DatasetError: The labels have another size than the image, or a value that is not a class.
            ImageError: A file is missing, or is not an image.
        """
        ...
