"""Your own data: a folder of images and a folder of label images, matched by file name."""

from pathlib import Path

from seg_ros.data.dataset import existing_folder, images_by_stem, pair_by_stem, read_pair
from seg_ros.errors import DatasetError
from seg_ros.labels import ClassSet
from seg_ros.resources import resource
from seg_ros.types import UInt8Array


class FolderDataset:
    """One split of a plain pair of folders: ``images/`` and ``labels/``.

    Both may hold the splits as sub-folders (``images/train``), the splits may hold the pair
    (``train/images``), or ``<split>.txt`` lists the stems that belong to a split. Without any of these every
    image belongs to every split.

    Args:
        root: the folder.
        split: its part.
        classes: a file of ``config/labels`` by name, or the path of one, absolute or relative to ``root``.
        void_id: value of the label images that means void besides 255.

    Raises:
        DatasetError: a file or folder is missing, or the split is empty.
    """

    def __init__(self, root: Path | None, split: str, *, classes: str, void_id: int | None = None) -> None:
        root = existing_folder(root)
        self.classes = ClassSet.from_yaml(_class_file(root, classes))
        self._void_id = void_id
        self._pairs = _find_pairs(root, split)
        self.names = [image.stem for image, _ in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return read_pair(*self._pairs[index], self.classes, self._void_id)


def _class_file(root: Path, classes: str) -> Path:
    if classes.endswith(('.yaml', '.yml')):
        return root / classes
    return resource(f'config/labels/{classes}.yaml')


def _find_pairs(root: Path, split: str) -> list[tuple[Path, Path]]:
    if (root / 'images' / split).is_dir():
        return pair_by_stem(root / 'images' / split, root / 'labels' / split)
    if (root / split / 'images').is_dir():
        return pair_by_stem(root / split / 'images', root / split / 'labels')
    pairs = pair_by_stem(root / 'images', root / 'labels')
    listing = root / f'{split}.txt'
    if not listing.is_file():
        return pairs
    stems = listing.read_text().split()
    absent = sorted(set(stems) - images_by_stem(root / 'images').keys())
    if absent:
        raise DatasetError(f'{listing} names {absent[0]}, which {root / "images"} does not hold')
    if not stems:
        raise DatasetError(f'{listing} is empty; expected the stems of the images of split {split}')
    wanted = set(stems)
    return [pair for pair in pairs if pair[0].stem in wanted]
