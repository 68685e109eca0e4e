"""CamVid as prepared for SegNet: 480x360, 11 classes; folders train/, trainannot/, val/ ..., lists of pairs.

G. Brostow, J. Fauqueur, R. Cipolla, "Semantic object classes in video", 2009; prepared by Badrinarayanan et
al., 2017.
"""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_pair
from seg_ros.datasets.pairs import existing_folder, images_by_stem, pair_by_stem
from seg_ros.errors import DatasetError
from seg_ros.resources import resource

VOID_ID = 11


class CamVid:
    """One split of CamVid.

    Args:
        root: Folder that has ``train/``, ``trainannot/`` and so on.
        split: Name of the split. Its images are listed in ``<split>.txt``, a line for each image and label
            image. Only the last two parts of a listed path count, and files match by stem. Without the list
            all pairs of the folders belong to the split.
        include: Patterns of file names; only images that match one are used.
        exclude: Patterns of file names such as ``0006R0_*``, to leave a drive out.

    Raises:
        DatasetError: A file or folder is missing, a line of the list is wrong, or no image is left.
    """

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        include: Sequence[str] = ('*',),
        exclude: Sequence[str] = (),
    ) -> None:
        if isinstance(include, str) or isinstance(exclude, str):
            raise DatasetError(f'include is {include!r}, exclude {exclude!r}; expected lists of patterns')
        root = existing_folder(root)
        self.classes = ClassSet.from_yaml(resource('config/labels/camvid11.yaml'))
        listing = root / f'{split}.txt'
        if listing.is_file():
            pairs = _listed_pairs(root, listing)
        else:
            pairs = pair_by_stem(root / split, root / f'{split}annot')
        self._pairs = [
            pair
            for pair in pairs
            if any(fnmatch(pair[0].stem, pattern) for pattern in include)
            and not any(fnmatch(pair[0].stem, pattern) for pattern in exclude)
        ]
        if not self._pairs:
            raise DatasetError(f'split {split} of {root} is empty with include {include}, exclude {exclude}')
        self.names = [image.stem for image, _ in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return read_pair(*self._pairs[index], self.classes, VOID_ID)


def _listed_pairs(root: Path, listing: Path) -> list[tuple[Path, Path]]:
    """Pairs of a list; the folders are found below ``root``."""
    folders: dict[Path, dict[str, Path]] = {}

    def find(text: str) -> Path:
        listed = PurePosixPath(text)
        folder = root / listed.parent.name
        if folder not in folders:
            folders[folder] = images_by_stem(folder)
        if listed.stem not in folders[folder]:
            raise DatasetError(f'{listing} names {text}, but {folder} has no image {listed.stem}')
        return folders[folder][listed.stem]

    pairs = []
    for number, line in enumerate(listing.read_text().splitlines(), start=1):
        words = line.split()
        if words and len(words) != 2:
            raise DatasetError(f"{listing}:{number} is '{line}'; expected an image and a label image")
        if words:
            pairs.append((find(words[0]), find(words[1])))
    return pairs
