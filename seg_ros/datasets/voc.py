"""PASCAL VOC 2012 in its published layout: JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/.

M. Everingham et al., "The PASCAL visual object classes challenge: a retrospective", IJCV 2015.
"""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_both, read_coloured_labels
from seg_ros.datasets.lists import find_listed, read_list
from seg_ros.datasets.pairs import existing_folder, images_by_stem
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.userfiles.reading import is_file, is_folder, shown_path

BORDER = (224, 224, 192)
"""Colour of void pixels: index 255 of the palette."""


class PascalVOC:
    """One split of PASCAL VOC 2012: 20 classes and background.

    Args:
        root: Folder that has ``JPEGImages/``, or a folder above it (``VOCdevkit`` or its parent).
        split: Name of a list in ``ImageSets/Segmentation``, such as train, val, trainval or trainaug.
        labels: Folder of the label images; ``SegmentationClassAug`` for those of Hariharan et al., 2011.

    Attributes:
        pairs: Paths of the image and of the label image for each name.

    Raises:
        DatasetError: A folder or the list is missing or empty, or not one listed image is there.
    """

    def __init__(self, root: Path | None, split: str, *, labels: str = 'SegmentationClass') -> None:
        root = _voc_folder(existing_folder(root))
        self.classes = ClassSet.from_yaml(resource('config/labels/voc21.yaml'))
        listing = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
        if not is_file(listing):
            known = sorted(path.stem for path in listing.parent.glob('*.txt'))
            raise DatasetError(
                f'{shown_path(listing)} is missing; splits there: {", ".join(known) or "none"}'
            )
        listed = read_list(listing)
        self.names = [shown_path(name) for name in listed]
        images, truth = images_by_stem(root / 'JPEGImages'), images_by_stem(root / labels)
        found = [(find_listed(images, name), find_listed(truth, name)) for name in listed]
        if not any(image and label for image, label in found):
            lacking = 'label image' if found[0][0] else 'image'
            raise DatasetError(
                f'{shown_path(listing)} names {self.names[0]}, but {shown_path(root)} has no {lacking} of '
                'that name, and none of the other pairs'
            )
        self.pairs: list[tuple[Path, Path]] = [
            (image or root / 'JPEGImages' / f'{name}.jpg', label or root / labels / f'{name}.png')
            for name, (image, label) in zip(listed, found, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self.pairs[index]
        return read_both(
            image_path, label_path, lambda path: read_coloured_labels(path, self.classes, BORDER)
        )


def _voc_folder(root: Path) -> Path:
    """Find the folder that has ``JPEGImages``: ``root`` or one below it."""
    for below in ('.', 'VOC2012', 'VOCdevkit/VOC2012'):
        if is_folder(root / below / 'JPEGImages'):
            return root / below
    raise DatasetError(
        f'{shown_path(root)} has neither JPEGImages nor VOC2012/JPEGImages; expected PASCAL VOC 2012'
    )
