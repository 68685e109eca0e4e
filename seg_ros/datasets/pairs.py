"""Pairs of files: each image with its label image, matched by file name."""

from pathlib import Path

from seg_ros.errors import DatasetError
from seg_ros.images.files import IMAGE_SUFFIXES


def existing_folder(root: Path | None) -> Path:
    """Root of a data set that lies in a folder.

    Raises:
        DatasetError: There is no root, or it is not a folder.
    """
    if root is None:
        raise DatasetError('this data set needs its folder; give it with --data DIR')
    if not root.is_dir():
        raise DatasetError(f'{root} is not a folder; expected the root of a data set')
    return root


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Find the image files of a folder.

    Args:
        folder: Folder of the images; sub-folders are not searched.

    Returns:
        File name without suffix -> path, sorted.

    Raises:
        DatasetError: The folder does not exist, has no image, or has two images with one stem.
    """
    if not folder.is_dir():
        raise DatasetError(f'{folder} is not a folder; expected a folder of images')
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise DatasetError(f'{found[path.stem]} and {path} share a stem; rename one of them')
            found[path.stem] = path
    if not found:
        raise DatasetError(f'{folder} has no image ({", ".join(IMAGE_SUFFIXES)})')
    return found


def pair_by_stem(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Pair the files of two folders by their stems.

    Args:
        images: Folder of the images.
        labels: Folder of the label images; further files are ignored.

    Returns:
        Paths of image and label image, sorted by stem.

    Raises:
        DatasetError: An image has no label image, or as for :func:`images_by_stem`.
    """
    label_of = images_by_stem(labels)
    pairs = []
    for stem, image in images_by_stem(images).items():
        if stem not in label_of:
            raise DatasetError(f'{image} has no label image of the same name in {labels}')
        pairs.append((image, label_of[stem]))
    return pairs


def pairs_of_split(root: Path, split: str, truth: str) -> list[tuple[Path, Path]]:
    """Pair the images and annotations of one split.

    Three layouts are known: the splits are sub-folders of both folders (``images/train``), or both folders
    are sub-folders of the splits (``train/images``), or ``<split>.txt`` lists the stems of a split. In any
    other layout each image belongs to every split.

    Args:
        root: Folder that has ``images/`` and the folder of the annotations.
        split: Name of the split.
        truth: Name of the folder of the annotations.

    Raises:
        DatasetError: A folder or file is missing, or the split is empty.
    """
    if (root / 'images' / split).is_dir():
        return pair_by_stem(root / 'images' / split, root / truth / split)
    if (root / split / 'images').is_dir():
        return pair_by_stem(root / split / 'images', root / split / truth)
    pairs = pair_by_stem(root / 'images', root / truth)
    listing = root / f'{split}.txt'
    if not listing.is_file():
        return pairs
    stems = listing.read_text().split()
    absent = sorted(set(stems) - images_by_stem(root / 'images').keys())
    if absent:
        raise DatasetError(f'{listing} names {absent[0]}, which is not in {root / "images"}')
    if not stems:
        raise DatasetError(f'{listing} is empty; expected the stems of the images of split {split}')
    wanted = set(stems)
    return [pair for pair in pairs if pair[0].stem in wanted]
