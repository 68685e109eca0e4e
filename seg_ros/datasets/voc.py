"""PASCAL VOC 2012 in its published layout: JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/.

M. Everingham et al., "The PASCAL visual object classes challenge: a retrospective", IJCV 2015.
"""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import check_sizes, read_coloured_labels
from seg_ros.datasets.pairs import existing_folder, images_by_stem
from seg_ros.errors import DatasetError
from seg_ros.images.files import read_image
from seg_ros.resources import resource

BORDER = (224, 224, 192)
"""Colour of void pixels: index 255 of the palette."""


class PascalVOC:
    """One split of PASCAL VOC 2012: 20 classes and background.

    Args:
        root: Folder that has ``JPEGImages/``, or a folder above it (``VOCdevkit`` or its parent).
        split: Name of a list in ``ImageSets/Segmentation``, such as train, val, trainval or trainaug.
        labels: Folder of the label images; ``SegmentationClassAug`` for those of Hariharan et al., 2011.

    Raises:
        DatasetError: A folder or the list is missing or empty, or the list names a missing image.
    """

    def __init__(self, root: Path | None, split: str, *, labels: str = 'SegmentationClass') -> None:
        root = _voc_folder(existing_folder(root))
        self.classes = ClassSet.from_yaml(resource('config/labels/voc21.yaml'))
        listing = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
        if not listing.is_file():
            known = sorted(path.stem for path in listing.parent.glob('*.txt'))
            raise DatasetError(f'{listing} is missing; splits there: {", ".join(known) or "none"}')
        self.names = listing.read_text().split()
        if not self.names:
            raise DatasetError(f'{listing} is empty; expected names of images')
        images, truth = images_by_stem(root / 'JPEGImages'), images_by_stem(root / labels)
        for name in self.names:
            if name not in images or name not in truth:
                lacking = 'image' if name not in images else 'label image'
                raise DatasetError(f'{listing} names {name}, but {root} has no {lacking} of that name')
        self._pairs = [(images[name], truth[name]) for name in self.names]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self._pairs[index]
        image, labels = read_image(image_path), read_coloured_labels(label_path, self.classes, BORDER)
        check_sizes(image_path, image, label_path, labels)
        return image, labels


def _voc_folder(root: Path) -> Path:
    """Find the folder that has ``JPEGImages``: ``root`` or one below it."""
    for below in ('.', 'VOC2012', 'VOCdevkit/VOC2012'):
        if (root / below / 'JPEGImages').is_dir():
            return root / below
    raise DatasetError(f'{root} has neither JPEGImages nor VOC2012/JPEGImages; expected PASCAL VOC 2012')
