"""Images that people divided into segments, for evaluating segmentation without classes."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from seg_ros.arrays import UNLABELLED, Int32Array, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.camvid import CamVid
from seg_ros.datasets.dataset import Dataset
from seg_ros.datasets.folder import UnlabelledFolder
from seg_ros.datasets.pairs import existing_folder, images_by_stem, names_of, pairs_of_split
from seg_ros.datasets.rendered import RenderedDataset
from seg_ros.datasets.voc import PascalVOC
from seg_ros.errors import DatasetError, UnavailableError
from seg_ros.images.files import open_image, read_image
from seg_ros.resources import resource
from seg_ros.userfiles.reading import is_folder, shown_path

VOID = -1
"""Value of pixels that belong to no segment and are not counted."""


class SegmentedImages(Protocol):
    """Images with one or more annotations each, in a fixed order.

    Attributes:
        names: Name of each image, unique.
    """

    names: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        """Read an image and its annotations.

        Returns:
            Image, (H, W, 3) uint8 RGB, and annotations, (H, W) int32 each: segments 0 .. n - 1, and VOID.
        """
        ...

    def image(self, index: int) -> UInt8Array:
        """Read an image without its annotations, (H, W, 3) uint8 RGB."""
        ...


@runtime_checkable
class KindsOfSegments(Protocol):
    """Segmented images that tell things from stuff."""

    def kinds(self, index: int) -> list[list[str]]:
        """Kind of each segment of each annotation of an image: 'things', 'stuff', or '' if unknown."""
        ...


class BSDS500:
    """The Berkeley segmentation data set, with 4 to 9 annotations for each image.

    P. Arbelaez et al., "Contour detection and hierarchical image segmentation", PAMI 2011, in its published
    layout: ``images/<split>/*.jpg`` and ``groundTruth/<split>/*.mat``.

    Args:
        root: Folder that has both.
        split: 'train', 'val' or 'test'.

    Raises:
        DatasetError: A folder or file is missing or damaged.
        UnavailableError: SciPy, which reads the annotations, is not installed.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        root = existing_folder(root)
        self._images = images_by_stem(root / 'images' / split)
        self._truth = root / 'groundTruth' / split
        self._stems = sorted(self._images)
        self.names = [shown_path(stem) for stem in self._stems]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        annotations = _read_mat(self._truth / f'{self._stems[index]}.mat')
        return self.image(index), annotations

    def image(self, index: int) -> UInt8Array:
        """Read an image without its annotations."""
        return read_image(self._images[self._stems[index]])


class SegmentFolder:
    """One split of two folders, ``images/`` and ``regions/``, with one annotation for each image, 0 = void.

    Without ``regions/``, ``labels/`` is read: all pixels of a class in an image are one segment, 255 = void.
    The layouts of splits are those of :func:`seg_ros.datasets.pairs.pairs_of_split`.

    Args:
        root: Folder that has both.
        split: Name of the split.
        classes: Folder of class images, whose value 0 is void too; '' = no such folder.

    Raises:
        DatasetError: A folder or file is missing, or the split is empty.
    """

    def __init__(self, root: Path | None, split: str, *, classes: str = '') -> None:
        root = existing_folder(root)
        self._classes = root / classes if classes else None
        has_regions, has_labels = (
            any(is_folder(folder / kind) for folder in (root, root / split)) for kind in ('regions', 'labels')
        )
        has_labels_alone = has_labels and not has_regions
        self._void = UNLABELLED if has_labels_alone else 0
        self._pairs = pairs_of_split(root, split, 'labels' if has_labels_alone else 'regions')
        self.names = names_of([image for image, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        return self.image(index), [self._annotation(index)]

    def image(self, index: int) -> UInt8Array:
        """Read an image without its annotations."""
        return read_image(self._pairs[index][0])

    def _annotation(self, index: int) -> Int32Array:
        values = _read_grey(self._pairs[index][1])
        if self._classes:
            values[self._class_values(index) == 0] = self._void
        return _numbered(values, void=self._void)

    def _class_values(self, index: int) -> Int32Array:
        """Values of the class image, (H, W) int32; 0 = void."""
        regions = self._pairs[index][1]
        return _read_grey((self._classes or regions.parent) / regions.name)


MSRC_STUFF = ('building', 'grass', 'tree', 'sky', 'mountain', 'water', 'road')
"""Classes of MSRC v2 without a shape of their own; the other classes are things.

The distinction: G. Heitz, D. Koller, "Learning spatial context: using stuff to find things", ECCV 2008.
"""


class MSRCv2(SegmentFolder):
    """MSRC v2 with cleaned masks: ``images/``, ``regions/``, ``classes/`` (0 = void) and lists of the splits.

    Args:
        root: Folder that has them.
        split: 'train', 'val' or 'test'.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        super().__init__(root, split, classes='classes')
        names = ClassSet.from_yaml(resource('config/labels/msrc23.yaml')).names
        self._kinds = ['', *('stuff' if name in MSRC_STUFF else 'things' for name in names)]

    def kinds(self, index: int) -> list[list[str]]:
        """Kind of each region, by the class of most of its pixels; see MSRC_STUFF."""
        annotation, classes = self._annotation(index), self._class_values(index)
        n = int(annotation.max()) + 1
        inside = annotation >= 0
        width = int(classes.max()) + 1
        votes = np.bincount(annotation[inside] * width + classes[inside], minlength=n * width)
        kinds = [self._kinds[k] if k < len(self._kinds) else '' for k in range(width)]
        return [[kinds[k] for k in votes.reshape(n, width).argmax(1)]]


class LabelledAsSegments:
    """Labels of a data set as segments: all pixels of a class in an image are one segment.

    Args:
        dataset: Data set with classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.names = dataset.names

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        image, labels = self._dataset[index]
        return image, [_numbered(labels, void=UNLABELLED)]

    def image(self, index: int) -> UInt8Array:
        """Read an image without its annotations."""
        return self._dataset[index][0]


class ImagesOnly:
    """The images of a data set with segments; their annotations are not read.

    Args:
        source: The data set.
    """

    def __init__(self, source: SegmentedImages) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> UInt8Array:
        return self._source.image(index)


class ImagesAlone:
    """Images without annotations, for learning that needs none; see seg_ros.datasets.folder.UnlabelledFolder.

    Args:
        root: Folder with the images.
        split: Name of the split.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        self._dataset = UnlabelledFolder(root, split)
        self.names = self._dataset.names

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        return self.image(index), []

    def image(self, index: int) -> UInt8Array:
        """Read an image."""
        return self._dataset[index][0]


class CamVidSegments(LabelledAsSegments):
    """CamVid, with the pixels of each class as one segment.

    Args:
        root: Root folder of CamVid.
        split: Name of the split.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        super().__init__(CamVid(root, split))


class RenderedSegments(LabelledAsSegments):
    """Rendered street drives, with the pixels of each class as one segment: one frame of each of 40 drives.

    Args:
        root: Not used; the drives are rendered.
        split: 'train', 'val' or 'test'.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        super().__init__(RenderedDataset(root, split, n_drives=40, n_frames=1))


class VOCObjects:
    """PASCAL VOC 2012 with an annotation of its objects: each object is one segment, and so is the rest.

    The images in ``SegmentationObject/`` have a palette: 0 = no object, 255 = void.

    Args:
        root: Folder of VOC, as for :class:`seg_ros.datasets.voc.PascalVOC`.
        split: Name of a list in ``ImageSets/Segmentation``.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        self._dataset = PascalVOC(root, split, labels='SegmentationObject')
        self.names = self._dataset.names

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[UInt8Array, list[Int32Array]]:
        objects = _read_grey(self._dataset.pairs[index][1])
        return self.image(index), [_numbered(objects, void=UNLABELLED)]

    def image(self, index: int) -> UInt8Array:
        """Read an image without its annotation."""
        return read_image(self._dataset.pairs[index][0])


def _numbered(values: npt.NDArray[np.integer], void: int | None = None) -> Int32Array:
    """Replace values by ids 0 .. n - 1, and ``void`` by VOID."""
    kept, inverse = np.unique(values, return_inverse=True)
    ids: Int32Array = inverse.reshape(values.shape).astype(np.int32)
    if void is not None and void in kept:
        position = int(np.searchsorted(kept, void))
        void_pixels = ids == position
        ids -= ids > position
        ids[void_pixels] = VOID
    return ids


def _read_grey(path: Path) -> Int32Array:
    """Values of an image with one channel, (H, W) int32."""
    file = open_image(path)
    if file.header.is_lossy:
        raise DatasetError(f'{shown_path(path)} is lossy; save segments as PNG')
    values = file.values()
    if values.ndim != 2 or values.dtype.kind not in 'iu':
        raise DatasetError(
            f'{shown_path(path)} has shape {values.shape}, type {values.dtype}; expected one channel'
        )
    return values.astype(np.int32)


def _read_mat(path: Path) -> list[Int32Array]:
    """Annotations in a file of BSDS500."""
    try:
        from scipy.io import loadmat
    except ImportError as err:
        raise UnavailableError(
            "the annotations of BSDS500 need SciPy; install it with: pip install 'seg_ros[segments]'"
        ) from err
    try:
        cells = loadmat(path)['groundTruth'].ravel()
        return [_numbered(cell['Segmentation'][0, 0]) for cell in cells]
    except Exception as err:  # SciPy raises many kinds for a damaged file
        raise DatasetError(
            f'{shown_path(path)} is missing or has no groundTruth with Segmentation: {shown_path(err)[:200]}'
        ) from err
