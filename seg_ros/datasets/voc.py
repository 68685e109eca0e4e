"""PASCAL VOC 2012 as it is published: JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/.

M. Everingham et al., "The PASCAL visual object classes challenge: a retrospective", IJCV 2015.
"""

from pathlib import Path

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.dataset import existing_folder, images_by_stem, read_coloured_labels, read_image
from seg_ros.errors import DatasetError
from seg_ros.resources import resource

BORDER = (224, 224, 192)
"""Colour of what is void: index 255 of the palette."""


class PascalVOC:
    """One split of PASCAL VOC 2012: 20 classes and background.

    Args:
        root: the folder that holds ``JPEGImages/``, or one above it (``VOCdevkit``, or what holds that).
        split: a list of ``ImageSets/Segmentation``: train, val, trainval, or your own, such as trainaug.
        labels: the folder of the label images; ``SegmentationClassAug`` for those of Hariharan et al., 2011.

    Raises:
        DatasetError: a folder or the list is missing or empty, or it names an image that is not there.
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
        if image.shape[:2] != labels.shape:
            raise DatasetError(f'{image_path} is {image.shape[:2]} but {label_path} is {labels.shape}')
        return image, labels


def _voc_folder(root: Path) -> Path:
    """Where ``JPEGImages`` lies: ``root`` or below it."""
    for below in ('.', 'VOC2012', 'VOCdevkit/VOC2012'):
        if (root / below / 'JPEGImages').is_dir():
            return root / below
    raise DatasetError(f'{root} holds no JPEGImages, nor VOC2012/JPEGImages; expected PASCAL VOC 2012')
