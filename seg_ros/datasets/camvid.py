"""CamVid as prepared for SegNet: 480x360, 11 classes; folders train/, trainannot/, val/ ..., lists of pairs.

G. Brostow, J. Fauqueur, R. Cipolla, "Semantic object classes in video", 2009; prepared by Badrinarayanan et
al., 2017.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_pair
from seg_ros.datasets.lists import find_listed, read_list
from seg_ros.datasets.pairs import existing_folder, files_in, names_of, pair_by_stem
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.schema import shown
from seg_ros.userfiles.reading import is_file, is_folder, shown_path

VOID_ID = 11
_BLANKS = re.compile(r'\s+')


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
        if is_file(listing):
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
            raise DatasetError(
                f'split {shown(split)} of {shown_path(root)} is empty with include {shown(include)}, '
                f'exclude {shown(exclude)}'
            )
        self.names = names_of([image for image, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return read_pair(*self._pairs[index], self.classes, VOID_ID)


def _listed_pairs(root: Path, listing: Path) -> list[tuple[Path, Path]]:
    """Pairs of a list; the folders are found below ``root``.

    A pair whose files are missing has the paths where they should be; reading the pair tells.
    """
    folders: dict[Path, dict[str, Path]] = {}

    def find(text: str) -> Path | None:
        folder = root / PurePosixPath(text).parent.name
        if folder not in folders:
            folders[folder] = _images_in(folder)
        return find_listed(folders[folder], text)

    pairs, n_found = [], 0
    for number, line in enumerate(read_list(listing), start=1):
        found, expected = None, None
        for image, labels in _splits(line):
            expected = expected or (root / _below(image), root / _below(labels))
            pair = find(image), find(labels)
            if pair[0] and pair[1]:
                found = pair[0], pair[1]
                break
        if expected is None:
            raise DatasetError(
                f'{shown_path(listing)}:{number} is {shown(line)}; expected an image and a label image'
            )
        n_found += found is not None
        pairs.append(found or expected)
    if not n_found:
        raise DatasetError(
            f'{shown_path(listing)} names {shown_path(pairs[0][0])} and its labels, but '
            f'{shown_path(root)} has none of the pairs of the list'
        )
    return pairs


def _images_in(folder: Path) -> dict[str, Path]:
    """Images of a folder by stem; none if it is not a folder, or has none."""
    return {path.stem: path for path in files_in(folder)} if is_folder(folder) else {}


def _splits(line: str) -> list[tuple[str, str]]:
    """Ways to divide a line into two paths at a blank; names may have blanks themselves."""
    places = [match.span() for match in _BLANKS.finditer(line)]
    return [(line[:start], line[end:]) for start, end in places]


def _below(text: str) -> Path:
    """The last two parts of a listed path."""
    return Path(*PurePosixPath(text).parts[-2:])
