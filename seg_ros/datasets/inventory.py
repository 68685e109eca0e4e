"""Inventory of a data set: sizes of its images, and the pixels of each class."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Int64Array, UInt8Array
from seg_ros.classes import ClassSet


def problem_of(pixels: Int64Array, classes: ClassSet) -> str | None:
    """Reason for which labels can neither be learnt from nor measured on; None = they can.

    Args:
        pixels: (256,) int64 number of pixels with each value; 255 = void.
        classes: Classes of the labels.
    """
    present = np.flatnonzero(pixels[: len(classes)])
    if not len(present):
        return 'not one pixel has a class; are the labels those of this class set?'
    if len(present) > 1:
        return None
    name = classes.names[present[0]]
    if not pixels[UNLABELLED] or len(classes) < 2:
        return f'only class {name} has pixels; expected two classes or more'
    return (
        f'only class {name} has pixels, and all others are void (255); if 255 is the foreground of masks, '
        f'read them with the option values: {{{present[0]}: {name}, 255: NAME}}'
    )


def absent_classes(pixels: Int64Array, classes: ClassSet) -> list[str]:
    """Names of the classes without a pixel; ``pixels`` as for :func:`problem_of`."""
    return [name for name, count in zip(classes.names, pixels, strict=False) if not count]


class Inventory:
    """Counts the images and the pixels of each class.

    Args:
        classes: Classes of the labels.

    Attributes:
        pixels: (256,) int64 number of pixels with each value.
        images: (256,) int64 number of images in which each value occurs.
        sizes: (height, width) -> number of images.
    """

    def __init__(self, classes: ClassSet) -> None:
        self._classes = classes
        self.pixels = np.zeros(256, np.int64)
        self.images = np.zeros(256, np.int64)
        self.sizes: Counter[tuple[int, int]] = Counter()

    def add(self, labels: UInt8Array) -> None:
        """Count (H, W) uint8 labels."""
        counts: npt.NDArray[np.int64] = np.bincount(labels.ravel(), minlength=256)
        self.pixels += counts
        self.images += counts > 0
        self.sizes[labels.shape[0], labels.shape[1]] += 1

    @property
    def problem(self) -> str | None:
        """Reason for which the labels are of no use; None = they are."""
        return problem_of(self.pixels, self._classes)

    def as_json(self) -> dict[str, Any]:
        """Sizes, and for each class its fraction of all pixels, 0..1, and its number of images."""
        fractions = self.pixels / max(int(self.pixels.sum()), 1)
        names = self._classes.names
        return {
            'n_images': sum(self.sizes.values()),
            'sizes': [[*size, n] for size, n in self.sizes.most_common()],
            'class_shares': {name: float(fractions[k]) for k, name in enumerate(names)},
            'class_images': {name: int(self.images[k]) for k, name in enumerate(names)},
            'unlabelled': float(fractions[UNLABELLED]),
            'problem': self.problem,
        }

    def as_text(self) -> str:
        """The same figures as a table."""
        figures = self.as_json()
        sizes = ', '.join(f'{n} of {width} x {height}' for height, width, n in figures['sizes'])
        width = max(len(name) for name in (*self._classes.names, 'unlabelled'))
        lines = [f'images: {sizes}', f'{"class":{width}}  pixels %  images']
        rows = {**figures['class_shares'], 'unlabelled': figures['unlabelled']}
        counts = {**figures['class_images'], 'unlabelled': int(self.images[UNLABELLED])}
        lines += [f'{name:{width}}  {100 * value:8.3f}  {counts[name]:6}' for name, value in rows.items()]
        absent = absent_classes(self.pixels, self._classes)
        if absent:
            lines.append(f'classes without pixels: {", ".join(absent)}')
        if self.problem:
            lines.append(f'the labels are of no use: {self.problem}')
        return '\n'.join(lines)
