"""Images cut into segments by people: what category-free segmentation is measured on."""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Int32Array, UInt8Array
from seg_ros.datasets.dataset import Dataset, existing_folder, images_by_stem, pairs_of_split, read_image
from seg_ros.errors import DatasetError, UnavailableError

VOID = -1
"""Value of pixels that belong to no segment and count for nothing."""


class SegmentedImages(Protocol):
    """Images with one or more annotations each, in a fixed order.

    Attributes:
        names: one an image, unique.
    """

    names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        """Image (H, W, 3) uint8 RGB; annotations (H, W) int32, segments 0 .. n - 1 and VOID."""
        ...


class BSDS500:
    """The Berkeley segmentation data set, 4 to 9 annotations an image.

    P. Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011; as published:
    ``images/<split>/*.jpg`` and ``groundTruth/<split>/*.mat``.

    Args:
        root: the folder that holds both.
        split: 'train', 'val' or 'test'.

    Raises:
        DatasetError: a folder or file is missing or damaged.
        UnavailableError: SciPy, which reads the annotations, is missing.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        root = existing_folder(root)
        self._images = images_by_stem(root / 'images' / split)
        self._truth = root / 'groundTruth' / split
        self.names = sorted(self._images)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        name = self.names[index]
        return read_image(self._images[name]), _read_mat(self._truth / f'{name}.mat')


class SegmentFolder:
    """A plain pair of folders, ``images/`` and ``regions/``: one annotation an image, 0 = void.

    Splits as in ``pairs_of_split``; MSRC v2 with cleaned region masks comes like this. Where there is no
    ``regions/``, ``labels/`` serves, as in a data set of classes: all pixels of a class in an image are one
    segment, 255 = void.

    Args:
        root: the folder that holds both.
        split: its part.
        classes: a folder of class images whose 0 means void as well; '' where there is none.

    Raises:
        DatasetError: a folder or file is missing, or a split is empty.
    """

    def __init__(self, root: Path | None, split: str, *, classes: str = '') -> None:
        root = existing_folder(root)
        self._classes = root / classes if classes else None
        has_regions, has_labels = (
            any((folder / kind).is_dir() for folder in (root, root / split)) for kind in ('regions', 'labels')
        )
        has_labels_alone = has_labels and not has_regions
        self._void = UNLABELLED if has_labels_alone else 0
        self._pairs = pairs_of_split(root, split, 'labels' if has_labels_alone else 'regions')
        self.names = [image.stem for image, _ in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        image, regions = self._pairs[index]
        values = _read_grey(regions)
        if self._classes:
            values[_read_grey(self._classes / regions.name) == 0] = self._void
        return read_image(image), [_numbered(values, void=self._void)]


class MSRCv2(SegmentFolder):
    """MSRC v2 with cleaned masks: ``images/``, ``regions/``, ``classes/`` (0 = void) and lists of the splits.

    Args:
        root: the folder that holds them.
        split: 'train', 'val' or 'test'.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        super().__init__(root, split, classes='classes')


class LabelledAsSegments:
    """A data set of classes as one of segments: all pixels of a class in an image are one segment.

    Args:
        dataset: with classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.names = dataset.names

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        image, labels = self._dataset[index]
        return image, [_numbered(labels, void=UNLABELLED)]


def _numbered(values: npt.NDArray[np.integer], void: int | None = None) -> Int32Array:
    """Values as ids 0 .. n - 1, ``void`` as VOID."""
    kept, inverse = np.unique(values, return_inverse=True)
    ids: Int32Array = inverse.reshape(values.shape).astype(np.int32)
    if void is not None and void in kept:
        position = int(np.searchsorted(kept, void))
        void_pixels = ids == position
        ids -= ids > position
        ids[void_pixels] = VOID
    return ids


def _read_grey(path: Path) -> Int32Array:
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2:
        raise DatasetError(f'{path} is missing or is no image of one channel')
    return values.astype(np.int32)


def _read_mat(path: Path) -> list[Int32Array]:
    """The annotations in one of BSDS500's files."""
    try:
        from scipy.io import loadmat
    except ImportError as err:
        raise UnavailableError(
            "BSDS500's annotations need SciPy; to read them: pip install 'seg_ros[segments]'"
        ) from err
    try:
        cells = loadmat(path)['groundTruth'].ravel()
        return [_numbered(cell['Segmentation'][0, 0]) for cell in cells]
    except Exception as err:  # SciPy raises many kinds for a damaged file
        raise DatasetError(f'{path} is missing or holds no groundTruth with Segmentation: {err}') from err
