"""Pairs of files: each image with its label image, matched by file name."""

from collections.abc import Mapping
from pathlib import Path

from seg_ros.datasets.lists import find_listed, find_spelled, read_list
from seg_ros.errors import DatasetError
from seg_ros.images.files import IMAGE_SUFFIXES
from seg_ros.schema import shown
from seg_ros.userfiles.reading import is_file, is_folder, shown_path


def existing_folder(root: Path | None) -> Path:
    """Root of a data set that lies in a folder.

    Raises:
        DatasetError: There is no root, or it is not a folder.
    """
    if root is None:
        raise DatasetError('this data set needs its folder; give it with --data DIR')
    if not is_folder(root):
        raise DatasetError(f'{shown_path(root)} is not a folder; expected the root of a data set')
    return root


def files_in(folder: Path) -> list[Path]:
    """Files of a folder, sorted, without hidden ones such as ``.DS_Store`` and ``._image.png``.

    Raises:
        DatasetError: The folder does not exist or cannot be read.
    """
    if not is_folder(folder):
        raise DatasetError(f'{shown_path(folder)} is not a folder; expected a folder of images')
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    except OSError as err:
        raise DatasetError(f'{shown_path(folder)} cannot be read: {err.strerror}') from err


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Find the image files of a folder.

    Args:
        folder: Folder of the images; sub-folders are not searched.

    Returns:
        File name without suffix -> path, sorted. A path may be that of a damaged file or broken link.

    Raises:
        DatasetError: The folder does not exist, has no image, or has two images with one stem.
    """
    found: dict[str, Path] = {}
    for path in files_in(folder):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise DatasetError(
                    f'{shown_path(found[path.stem])} and {shown_path(path)} share a stem; rename one of them'
                )
            found[path.stem] = path
    if not found:
        raise DatasetError(f'{shown_path(folder)} has no image ({", ".join(IMAGE_SUFFIXES)})')
    return found


def names_of(images: list[Path]) -> list[str]:
    """Names of images for reports: their stems in valid Unicode."""
    return [shown_path(path.stem) for path in images]


def pair_by_stem(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Pair the files of two folders by their stems.

    Args:
        images: Folder of the images.
        labels: Folder of the label images; further files are ignored.

    Returns:
        Paths of image and label image, sorted by stem. An image without labels has the path where they should
        be; reading the pair tells.

    Raises:
        DatasetError: Not one image has a label image, or as for :func:`images_by_stem`.
    """
    label_of, image_of = images_by_stem(labels), images_by_stem(images)
    pairs = []
    for stem, image in image_of.items():
        label = find_spelled(label_of, stem)
        pairs.append((image, labels / f'{stem}.png' if label is None else label))
    if not any(label in label_of.values() for _, label in pairs):
        raise DatasetError(
            f'{shown_path(pairs[0][0])} has no label image of the same name in {shown_path(labels)}, and '
            'neither has any other image there'
        )
    return pairs


def pairs_of_split(root: Path, split: str, truth: str) -> list[tuple[Path, Path]]:
    """Pair the images and annotations of one split.

    Three layouts are known: the splits are sub-folders of both folders (``images/train``), or both folders
    are sub-folders of the splits (``train/images``), or ``<split>.txt`` lists the images of a split, a name a
    line. Without any such folder or list each image belongs to every split.

    Args:
        root: Folder that has ``images/`` and the folder of the annotations.
        split: Name of the split.
        truth: Name of the folder of the annotations.

    Returns:
        Paths of image and annotation. A name of the list without an image has the path where it should be;
        reading the pair tells.

    Raises:
        DatasetError: A folder or file is missing, the split is empty, or there are only other splits.
    """
    if is_folder(root / 'images' / split):
        return pair_by_stem(root / 'images' / split, root / truth / split)
    if is_folder(root / split / 'images'):
        return pair_by_stem(root / split / 'images', root / split / truth)
    listing = root / f'{split}.txt'
    if is_file(listing):
        pairs = pair_by_stem(root / 'images', root / truth)
        return _listed(listing, pairs, root / 'images', root / truth)
    splits = _splits_of(root)
    if splits:
        raise DatasetError(
            f'{shown_path(root)} has no split {shown(split)}; splits there: {shown_path(", ".join(splits))}'
        )
    return pair_by_stem(root / 'images', root / truth)


def _splits_of(root: Path) -> list[str]:
    """Names of the splits that have a folder with images, or a list of some of the images."""
    below = [path for path in _subfolders(root / 'images') if _has_images(path)]
    beside = [path for path in _subfolders(root) if _has_images(path / 'images')]
    stems = {path.stem: path for path in _images_in(root / 'images')}
    listings = [path for path in files_in(root) if path.suffix == '.txt' and _is_listing(path, stems)]
    return sorted({*(path.name for path in (*below, *beside)), *(path.stem for path in listings)})


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in files_in(folder) if is_folder(path)] if is_folder(folder) else []


def _images_in(folder: Path) -> list[Path]:
    return [path for path in files_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _has_images(folder: Path) -> bool:
    return is_folder(folder) and bool(_images_in(folder))


def _is_listing(path: Path, stems: Mapping[str, Path]) -> bool:
    """Whether half of the lines of a text file name images; others may be notes, or names of classes."""
    if not is_file(path):
        return False
    try:
        lines = read_list(path)
    except DatasetError:
        return False
    n_found = sum(
        bool(find_listed(stems, line)) or all(find_listed(stems, word) for word in line.split())
        for line in lines
    )
    return 2 * n_found >= len(lines)


def _listed(
    listing: Path, pairs: list[tuple[Path, Path]], images: Path, truth: Path
) -> list[tuple[Path, Path]]:
    """The pairs that a list names, sorted by stem."""
    by_stem = {pair[0].stem: pair for pair in pairs}
    wanted: set[str] = set()
    absent = []
    for line in read_list(listing):
        pair = find_listed(by_stem, line)
        named = [pair] if pair else [find_listed(by_stem, word) for word in line.split()]
        wanted.update(pair[0].stem for pair in named if pair)
        if not all(named):
            absent.append(line)
    if not wanted:
        raise DatasetError(
            f'{shown_path(listing)} names {shown_path(absent[0])}, which is not in {shown_path(images)}'
        )
    kept = [pair for pair in pairs if pair[0].stem in wanted]
    return kept + [(images / f'{name}.png', truth / f'{name}.png') for name in absent]
