"""The India Driving Dataset, lite: streets of Indian cities with seven coarse classes.

G. Varma, A. Subramanian, A. Namboodiri, M. Chandraker, C. V. Jawahar, "IDD: a dataset for exploring problems
of autonomous navigation in unconstrained environments", WACV 2019.
"""

from pathlib import Path

from seg_ros.arrays import UNLABELLED, UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.datasets.label_images import read_both, read_ids
from seg_ros.datasets.pairs import existing_folder, names_of, pair_by_stem
from seg_ros.errors import DatasetError
from seg_ros.resources import resource
from seg_ros.userfiles.reading import shown_path

_LEFT_OUT_OF = 5
"""Every fifth drive is in ``val``."""


class IDDLite:
    """One split of ``images/`` and ``labels/``, whose names are ``<drive>_<frame>``.

    Neighbouring frames of a drive are alike, so a drive is in one split as a whole: every fifth of the sorted
    drives is in 'val', the others are in 'train'. 'all' has every drive.

    Args:
        root: Folder that has them.
        split: 'train', 'val' or 'all'.

    Raises:
        DatasetError: The split is unknown, a folder is missing or empty, or a label is not a class.
    """

    def __init__(self, root: Path | None, split: str) -> None:
        if split not in ('train', 'val', 'all'):
            raise DatasetError(f"IDD lite has no split '{split}'; expected train, val or all")
        self.classes = ClassSet.from_yaml(resource('config/labels/idd7.yaml'))
        folder = existing_folder(root)
        pairs = pair_by_stem(folder / 'images', folder / 'labels')
        drives = sorted({_drive(image) for image, _ in pairs})
        left_out = set(drives[::_LEFT_OUT_OF])
        self._pairs = [
            pair for pair in pairs if split == 'all' or (split == 'val') == (_drive(pair[0]) in left_out)
        ]
        if not self._pairs:
            raise DatasetError(f"{shown_path(folder)} has no image of the split '{split}'")
        self.names = names_of([image for image, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        image_path, label_path = self._pairs[index]
        image, ids = read_both(image_path, label_path, read_ids)
        wrong = ids[(ids >= len(self.classes)) & (ids != UNLABELLED)]
        if wrong.size:
            raise DatasetError(
                f'{shown_path(label_path)} holds {wrong[0]}; expected 0 to {len(self.classes) - 1}, or '
                f'{UNLABELLED}'
            )
        return image, ids


def _drive(image: Path) -> str:
    return image.stem.partition('_')[0]
